import { conv } from "../../../src/backends/onnx/export/layers.ts";
import { conv2d } from "../../../src/ops/conv2d.ts";
import { random } from "../../gpu.ts";
import type { BenchCase, HostTensor } from "./case.ts";

/** 3x3 with zeros around, the weight in f16; the graph's layout is NCHW, ours NHWC. */
function conv2dCase(label: string, channels: number, extent: number): BenchCase {
  const shape = [1, channels, extent, extent];
  const weight = [channels, channels, 3, 3] as const;
  return {
    group: "conv2d",
    name: `${label}: 3x3, ${channels} -> ${channels} at ${extent}x${extent}`,
    flops: 2 * 9 * channels * channels * extent * extent,
    weights: new Map<string, readonly number[]>([["layer.weight", weight], ["layer.bias", [
      channels,
    ]]]),
    inputs: () => ({ x: { shape, data: random(channels * extent * extent, 3) } }),
    wgslInputs: ({ x }) => ({ x: toNhwc(x!) }),
    wgsl: (plan) => {
      const w = plan.conv("layer.weight", weight);
      const bias = plan.vector("layer.bias", channels);
      return (rec, { x }) => [
        conv2d(rec, { x: x!, weight: w, bias: bias.tensor, label: "bench" }),
      ];
    },
    toGraphOrder: (results) => results.map(toNchw),
    graph: (g, { x }) => [[
      conv(g, x!, "layer", {
        inputs: channels,
        outputs: channels,
        kernel: 3,
        pads: [1, 1, 1, 1],
      }),
      shape,
    ]],
  };
}

export function toNhwc({ shape: [n, c, h, w], data }: HostTensor): HostTensor {
  return { shape: [n!, h!, w!, c!], data: transposed(data, c!, h! * w!) };
}

export function toNchw({ shape: [n, h, w, c], data }: HostTensor): HostTensor {
  return { shape: [n!, c!, h!, w!], data: transposed(data, h! * w!, c!) };
}

/** Matrices [rows, columns] of a batch, each transposed. */
function transposed(data: Float32Array, rows: number, columns: number): Float32Array<ArrayBuffer> {
  const size = rows * columns;
  return Float32Array.from(data, (_, i) => {
    const at = i % size;
    return data[i - at + (at % rows) * columns + Math.floor(at / rows)]!;
  });
}

/** SD3's decoder at 512x512 pixels, its widest level; then the fixture's costliest. */
export const conv2dCases: readonly BenchCase[] = [
  conv2dCase("decoder", 512, 64),
  conv2dCase("fixture decoder", 32, 128),
];
