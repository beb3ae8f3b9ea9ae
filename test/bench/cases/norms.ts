/** What memory limits: norms and elementwise work. Bytes count each operand once. */
import {
  groupNorm as graphGroupNorm,
  layerNorm as graphLayerNorm,
  silu,
} from "../../../src/backends/onnx/export/layers.ts";
import { activation } from "../../../src/ops/activation.ts";
import { add } from "../../../src/ops/add.ts";
import { groupNorm } from "../../../src/ops/group_norm.ts";
import { layerNorm } from "../../../src/ops/layer_norm.ts";
import { random } from "../../gpu.ts";
import type { BenchCase } from "./case.ts";
import { toNchw, toNhwc } from "./conv2d.ts";

const epsilon = 1e-6;

function layerNormCase(label: string, rows: number, channels: number): BenchCase {
  const shape = [1, rows, channels];
  return {
    group: "norms",
    name: `${label}: layer norm with adaLN, ${rows} x ${channels}`,
    bytes: 8 * rows * channels,
    weights: new Map(),
    inputs: () => ({
      x: { shape, data: random(rows * channels, 3) },
      scale: { shape: [1, channels], data: random(channels, 4) },
      shift: { shape: [1, channels], data: random(channels, 5) },
    }),
    wgsl: () => (rec, { x, scale, shift }) => {
      const vector = { offset: 0, stride: channels };
      return [layerNorm(rec, {
        x: x!,
        scale: { tensor: scale!, ...vector },
        shift: { tensor: shift!, ...vector },
        eps: epsilon,
        label: "bench",
      })];
    },
    graph: (g, { x, scale, shift }) => {
      const normed = graphLayerNorm(g, x!, undefined, channels, epsilon);
      const factor = g.op("Add", [scale!, g.floats(1)]);
      return [[g.op("Add", [g.op("Mul", [normed, factor]), shift!]), shape]];
    },
  };
}

function groupNormCase(label: string, channels: number, groups: number, extent: number): BenchCase {
  const shape = [1, channels, extent, extent];
  return {
    group: "norms",
    name: `${label}: group norm with silu, ${extent}x${extent} x ${channels}`,
    bytes: 8 * channels * extent * extent,
    weights: new Map([["norm.weight", [channels]], ["norm.bias", [channels]]]),
    inputs: () => ({ x: { shape, data: random(channels * extent * extent, 3) } }),
    wgslInputs: ({ x }) => ({ x: toNhwc(x!) }),
    wgsl: (plan) => {
      const weight = plan.vector("norm.weight", channels);
      const bias = plan.vector("norm.bias", channels);
      return (rec, { x }) => [groupNorm(rec, {
        x: x!,
        groups,
        weight: weight.tensor,
        bias: bias.tensor,
        eps: epsilon,
        silu: true,
        label: "bench",
      })];
    },
    toGraphOrder: (results) => results.map(toNchw),
    graph: (g, { x }) => [[
      silu(g, graphGroupNorm(g, x!, "norm", channels, groups, epsilon)),
      shape,
    ]],
  };
}

function siluCase(rows: number, channels: number): BenchCase {
  const shape = [1, rows, channels];
  return {
    group: "norms",
    name: `silu, ${rows} x ${channels}`,
    bytes: 8 * rows * channels,
    weights: new Map(),
    inputs: () => ({ x: { shape, data: random(rows * channels, 3) } }),
    wgsl: () => (rec, { x }) => [activation(rec, { x: x!, kind: "silu", label: "bench" })],
    graph: (g, { x }) => [[silu(g, x!), shape]],
  };
}

function residualCase(rows: number, channels: number): BenchCase {
  const shape = [1, rows, channels];
  return {
    group: "norms",
    name: `gated residual, ${rows} x ${channels}`,
    bytes: 12 * rows * channels,
    weights: new Map(),
    inputs: () => ({
      x: { shape, data: random(rows * channels, 3) },
      gate: { shape: [1, channels], data: random(channels, 4) },
      residual: { shape, data: new Float32Array(rows * channels) },
    }),
    // In place: what runs often adds up, but the first run's result is the one that is compared.
    wgsl: () => (rec, { x, gate, residual }) => [
      add(rec, {
        x: x!,
        into: residual!,
        gate: { tensor: gate!, offset: 0, stride: channels },
        label: "bench",
      }),
    ],
    graph: (g, { x, gate, residual }) => [[
      g.op("Add", [residual!, g.op("Mul", [x!, gate!])]),
      shape,
    ]],
  };
}

export const normCases: readonly BenchCase[] = [
  layerNormCase("joint block", 1357, 1536),
  groupNormCase("decoder", 512, 32, 64),
  siluCase(1357, 6144),
  residualCase(1357, 1536),
  layerNormCase("fixture", 64, 192),
  groupNormCase("fixture decoder", 32, 16, 128),
];
