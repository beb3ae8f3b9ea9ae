import tileSource from "../../kernels/linear_tile.wgsl" with { type: "text" };
import { defineKernel, type Specialisation } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/program.ts";
import { elements, type PerSample, type Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./fold_grid.ts";
import type { KernelUse } from "./kernel_use.ts";
import { type Matrix, rowStride } from "./matrix.ts";
import { resizeRows } from "./resize_rows.ts";

const tile = defineKernel("linear_tile", tileSource);

/** Order: the kernels' ACTIVATION. */
export const activations = ["none", "gelu_tanh", "gelu", "quick_gelu", "silu"] as const;
export type Activation = typeof activations[number];

export const linearUses: KernelUse[] = [
  {
    kernel: tile,
    specialisations: [true, false].flatMap((f16) =>
      activations.flatMap((_, i) => [form(1, f16, i), form(4, f16, i)])
    ),
  },
];

function form(threadM: number, f16: boolean, activation: number): Specialisation {
  return {
    const: { THREAD_M: threadM, THREAD_N: 4, WEIGHT_F16: f16 },
    override: { ACTIVATION: activation },
  };
}

export interface LinearOptions {
  /** [B, ..., K] f32. */
  readonly x: Tensor;
  readonly weight: Matrix;
  /** [N] f32. */
  readonly bias?: Tensor | undefined;
  readonly activation?: Activation | undefined;
  /** [B, ..., N] f32: the result is added to it, in place. */
  readonly into?: Tensor | undefined;
  /** With `into`: the result is multiplied by the sample's gate [N] first. */
  readonly gate?: PerSample | undefined;
  readonly label: string;
}

/**
 * Matrix product with bias, activation and gated residual: `activation(x * weight^T + bias)`.
 * Returns a new [B, ..., N], or `into`. Throws a TypeError where shapes do not fit.
 */
export function linear(rec: Recorder, options: LinearOptions): Tensor {
  const { x, weight, bias, activation = "none", into, gate, label } = options;
  check(options);
  const [n, k] = weight.shape as [number, number];
  const stride = rowStride(k);
  const columns = Math.ceil(n / 4) * 4;
  const shape = [...x.shape.slice(0, -1), n];
  const rows = elements(x.shape) / k;
  const rowsPerSample = rows / (x.shape[0] ?? 1);

  const wide = k === stride ? x : resizeRows(rec, { x, columns: stride, label: `${label}/x` });
  const padded = into && n !== columns
    ? resizeRows(rec, { x: into, columns, label: `${label}/into` })
    : undefined;
  const y = padded ?? into ?? rec.alloc([...shape.slice(0, -1), columns], label);
  for (const part of weight.parts) {
    const packed = (weight.rowStride ?? stride) === stride
      ? part.tensor
      : resizeRows(rec, { x: part.tensor, columns: stride, label: `${label}/weight` });
    const partColumns = Math.ceil(part.rows / 4) * 4;
    const threadM = rowsPerSample === 1 ? 1 : 4;
    const lanesN = rowsPerSample === 1 ? 16 : 4;
    const [gridX, gridY] = foldGrid(Math.ceil(rows / (threadM * 16 / lanesN)));
    rec.dispatch({
      label: `linear/${label}`,
      kernel: tile,
      specialise: form(threadM, packed.dtype === "f16", activations.indexOf(activation)),
      bindings: {
        x: wide,
        w: packed,
        bias: bias ?? rec.gpu.absent,
        gate: gate?.tensor ?? rec.gpu.absent,
        y,
      },
      params: {
        rows,
        n: part.rows,
        k8: stride / 8,
        y_stride: columns,
        y_column: part.rowStart,
        rows_per_sample: rowsPerSample,
        gate_offset: (gate?.offset ?? 0) + part.rowStart,
        gate_stride: gate?.stride ?? 0,
        bias_offset: part.rowStart,
        has_bias: Number(bias !== undefined),
        has_gate: Number(gate !== undefined),
        accumulate: Number(into !== undefined),
        lanes_n: lanesN,
        grid_x: gridX,
      },
      grid: [gridX, gridY, Math.ceil(partColumns / (4 * lanesN))],
    });
    if (packed !== part.tensor) rec.release(packed);
  }
  if (wide !== x) rec.release(wide);
  if (n === columns) return into ?? { ...y, shape };
  const cut = resizeRows(rec, { x: y, columns: n, to: into, label: `${label}/y` });
  rec.release(y);
  return cut;
}

function check({ x, weight, bias, into, gate, label }: LinearOptions): void {
  const [n, k] = weight.shape as [number, number];
  const fail = (what: string, actual: readonly number[], wanted: string) => {
    throw new TypeError(`linear/${label}: ${what} is [${actual}], wanted ${wanted}`);
  };
  if (weight.shape.length !== 2) fail("weight", weight.shape, "[N, K]");
  if (x.dtype !== "f32" || x.shape.length < 2 || x.shape.at(-1) !== k) {
    fail(`x (${x.dtype})`, x.shape, `[B, ..., ${k}] f32`);
  }
  if (bias && elements(bias.shape) !== n) fail("bias", bias.shape, `[${n}]`);
  const shape = [...x.shape.slice(0, -1), n];
  if (into && `${into.shape}` !== `${shape}`) fail("into", into.shape, `[${shape}]`);
  if (gate && !into) throw new TypeError(`linear/${label}: a gate needs a residual to add to`);
  if (
    gate && gate.offset + ((x.shape[0] ?? 1) - 1) * gate.stride + n > elements(gate.tensor.shape)
  ) {
    fail(
      "gate",
      gate.tensor.shape,
      `${n} values at ${gate.offset} for each of ${x.shape[0]} samples`,
    );
  }
}
