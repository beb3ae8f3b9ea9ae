import { linear } from "../../../src/ops/linear.ts";
import { linear as graphLinear } from "../../../src/backends/onnx/export/layers.ts";
import { random } from "../../gpu.ts";
import type { QuantType } from "../../../src/gpu/quantized.ts";
import type { BenchCase } from "./case.ts";

/** `x * weight^T + bias`, the weight in f16 or quantised; a batch of one where rows are tokens. */
function linearCase(
  label: string,
  [batch, rows, k, n]: readonly number[],
  weightType?: QuantType,
): BenchCase {
  const shape = rows === 1 ? [batch!, k!] : [batch!, rows!, k!];
  return {
    group: "linear",
    name: `${label}: ${batch! * rows!} x ${k} -> ${n}${weightType ? `, ${weightType}` : ""}`,
    ...weightType && { weightType },
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

/** The same with weights of 8.5 and 4.5 bits, for our kernels alone. */
export const quantizedLinearCases: readonly BenchCase[] = (["q8_0", "q4_0"] as const).flatMap(
  (type) => [
    linearCase("feed-forward in", [1, 410, 1536, 6144], type),
    linearCase("feed-forward in", [1, 1357, 1536, 6144], type),
    linearCase("feed-forward out", [1, 410, 6144, 1536], type),
    linearCase("feed-forward out", [1, 1357, 6144, 1536], type),
    linearCase("adaLN of a block", [1, 1, 1536, 13824], type),
  ],
);
