import { attention as graphAttention } from "../../../src/backends/onnx/export/layers.ts";
import { attention } from "../../../src/ops/attention.ts";
import { random } from "../../gpu.ts";
import type { BenchCase, HostTensor } from "./case.ts";

/**
 * Joint attention over image and context tokens. The graph gets q, k and v as heads already, which
 * spares it the transposes that a model would have to do; ours reads them as the product leaves them.
 */
function attentionCase(
  label: string,
  [batch, heads, ...tokens]: readonly [batch: number, heads: number, ...tokens: number[]],
): BenchCase {
  const headDim = 64;
  const all = tokens.reduce((sum, n) => sum + n, 0);
  const shape = [batch, heads, all, headDim];
  const size = batch * heads * all * headDim;
  const scale = headDim ** -0.5;
  const names = ["q", "k", "v"] as const;
  return {
    group: "attention",
    name: `${label}: ${heads} heads of ${headDim}, ${all} tokens${batch > 1 ? ` x ${batch}` : ""}`,
    flops: 4 * batch * heads * all * all * headDim,
    weights: new Map(),
    inputs: () =>
      Object.fromEntries(names.map((name, i) => [name, { shape, data: random(size, 3 + i) }])),
    wgslInputs: (inputs) => {
      let first = 0;
      const streams = tokens.map((count, i) => {
        const data = new Float32Array(batch * count * 3 * heads * headDim);
        for (const [which, name] of names.entries()) {
          eachHead(batch, heads, count, (b, h, t) => {
            const from = ((b * heads + h) * all + first + t) * headDim;
            const to = (((b * count + t) * 3 + which) * heads + h) * headDim;
            data.set(inputs[name]!.data.subarray(from, from + headDim), to);
          });
        }
        first += count;
        return [`stream${i}`, { shape: [batch, count, 3 * heads * headDim], data }] as const;
      });
      return Object.fromEntries(streams);
    },
    wgsl: () => (rec, inputs) =>
      attention(rec, { streams: Object.values(inputs), heads, headDim, scale, label: "bench" }),
    toGraphOrder: (results) => {
      const data = new Float32Array(size);
      let first = 0;
      for (const { shape: [, count], data: values } of results as readonly HostTensor[]) {
        eachHead(batch, heads, count!, (b, h, t) => {
          const from = ((b * count! + t) * heads + h) * headDim;
          const to = ((b * heads + h) * all + first + t) * headDim;
          data.set(values.subarray(from, from + headDim), to);
        });
        first += count!;
      }
      return [{ shape, data }];
    },
    graph: (g, { q, k, v }) => [[graphAttention(g, q!, k!, v!, scale), shape]],
  };
}

function eachHead(
  batch: number,
  heads: number,
  tokens: number,
  visit: (b: number, h: number, t: number) => void,
): void {
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let t = 0; t < tokens; t++) visit(b, h, t);
    }
  }
}

export const attentionCases: readonly BenchCase[] = [
  attentionCase("joint", [1, 24, 256, 154]),
  attentionCase("joint", [1, 24, 1024, 333]),
  attentionCase("fixture", [2, 3, 64, 48]),
];
