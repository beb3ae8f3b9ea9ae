import { linear } from "../../../src/ops/linear.ts";
import { linear as graphLinear } from "../../../src/onnx/export/layers.ts";
import { random } from "../../gpu.ts";
import type { BenchCase } from "./case.ts";

/** `x * weight^T + bias`, the weight in f16; a batch of one where rows are tokens. */
function linearCase(label: string, [batch, rows, k, n]: readonly number[]): BenchCase {
  const shape = rows === 1 ? [batch!, k!] : [batch!, rows!, k!];
  return {
    group: "linear",
    name: `${label}: ${batch! * rows!} x ${k} -> ${n}`,
    flops: 2 * batch! * rows! * k! * n!,
    weights: new Map([["layer.weight", [n!, k!]], ["layer.bias", [n!]]]),
    inputs: () => ({ x: { shape, data: random(batch! * rows! * k!, 3) } }),
    wgsl: (plan) => {
      const weight = plan.matrix("layer.weight", [n!, k!]);
      const bias = plan.vector("layer.bias", n!);
      return (rec, { x }) => [linear(rec, { x: x!, weight, bias: bias.tensor, label: "bench" })];
    },
    graph: (g, { x }) => [[graphLinear(g, x!, "layer", k!, n!), [...shape.slice(0, -1), n!]]],
  };
}

/** SD3.5-medium's at 256x256 and 512x512 pixels with T5's 77 and 256 tokens; then the fixture's. */
export const linearCases: readonly BenchCase[] = [
  linearCase("feed-forward in", [1, 410, 1536, 6144]),
  linearCase("feed-forward in", [1, 1357, 1536, 6144]),
  linearCase("feed-forward out", [1, 410, 6144, 1536]),
  linearCase("feed-forward out", [1, 1357, 6144, 1536]),
  linearCase("q, k, v", [1, 410, 1536, 4608]),
  linearCase("q, k, v", [1, 1357, 1536, 4608]),
  linearCase("adaLN of a block", [1, 1, 1536, 13824]),
  linearCase("fixture feed-forward in", [2, 64, 192, 768]),
];
