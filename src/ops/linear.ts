import type { Recorder } from "../gpu/recorder.ts";
import { blockValues } from "../gpu/quantized.ts";
import { elements, type PerSample, reshape, rowStride, type Tensor } from "../gpu/tensor.ts";
import { activation as activate } from "./activation.ts";
import { add } from "./add.ts";
import { type Activation, fused } from "./support/activations.ts";
import { usesOf } from "./support/kernel_use.ts";
import type { LinearVariant } from "./support/linear_variant.ts";
import { linearTexture } from "./software/linear_texture.ts";
import { likelyVariants, variants } from "./linear_variants.ts";
import { type Matrix, type MatrixPart, weightDType } from "./support/matrix.ts";
import { resizeRows } from "./resize_rows.ts";

export const linearUses = usesOf(variants);

export interface LinearOptions {
  /** [B, ..., K] f32. */
  readonly x: Tensor;
  readonly weight: Matrix;
  /** [N] f32. */
  readonly bias?: Tensor | undefined;
  readonly activation?: Activation | undefined;
  /** [B, ..., N] f32: the result is added to it, in place. */
  readonly into?: Tensor | undefined;
  /** With `into`: the result is multiplied by the sample's gate [N] first; N % 4 = 0. */
  readonly gate?: PerSample | undefined;
  readonly label: string;
  /** Of weights in buffers; default: by the device's tuner. */
  readonly variant?: LinearVariant | undefined;
}

/**
 * Matrix product with bias, activation and gated residual: `activation(x * weight^T + bias)`.
 * Returns a new [B, ..., N], or `into`.
 *
 * @throws {TypeError} where shapes do not fit
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

  if (into && (n !== columns || activation !== "none")) {
    const { variant } = options;
    const result = linear(rec, { x, weight, bias, activation, label, variant });
    add(rec, { x: result, into, gate, label });
    return into;
  }
  if (activation === "gelu") {
    const product = linear(rec, { ...options, activation: "none" });
    return activate(rec, { x: product, kind: activation, label });
  }
  // Rows of x, weights and bias are read four or eight values at a time.
  const widened = (tensor: Tensor, width: number, wanted: number, name: string) => {
    if (width === wanted) return tensor;
    const matrix = reshape(tensor, [elements(tensor.shape) / width, width]);
    return resizeRows(rec, { x: matrix, columns: wanted, label: `${label}/${name}` });
  };
  const textured = weight.parts.some((part) => part.texture);
  const wide = widened(x, k, stride, "x");
  const wideBias = bias && widened(bias, n, columns, "bias");
  const y = into ?? rec.alloc([...shape.slice(0, -1), columns], label);
  if (textured) {
    linearTexture(rec, {
      x: wide,
      rows,
      rowsPerSample,
      inputs: stride,
      parts: weight.parts,
      bias: wideBias ?? rec.gpu.absent,
      gate: gate?.tensor ?? rec.gpu.absent,
      y,
      params: {
        y_stride: columns,
        gate_offset: gate?.offset ?? 0,
        gate_stride: gate?.stride ?? 0,
        has_bias: Number(bias !== undefined),
        has_gate: Number(gate !== undefined),
        accumulate: Number(into !== undefined),
        activation: fused.indexOf(activation),
      },
      label,
    });
  }
  for (const part of textured ? [] : weight.parts) {
    const { tensor, quantized } = part;
    const w = quantized ? tensor : widened(tensor, weight.rowStride ?? stride, stride, "weight");
    const variant = options.variant ?? chooseVariant(rec, options, { ...part, tensor: w });
    const { lanesN, groupsM, groupsN } = variant.layout(rows, part.rows);
    rec.dispatch({
      label: `linear/${label}`,
      kernel: variant.kernel,
      specialise: variant.specialise,
      bindings: {
        x: wide,
        w,
        scales: quantized?.scales ?? rec.gpu.absent,
        bias: wideBias ?? rec.gpu.absent,
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
        activation: fused.indexOf(activation),
      },
      grid: [groupsM, groupsN],
    });
  }
  if (n === columns) return y;
  return resizeRows(rec, { x: y, columns: n, label: `${label}/y` });
}

function chooseVariant(rec: Recorder, options: LinearOptions, part: MatrixPart): LinearVariant {
  const { x, weight, label } = options;
  const dtype = weightDType(part);
  const inputs = weight.shape[1]!;
  const rows = elements(x.shape) / inputs;
  const rowsPerSample = rows / x.shape[0]!;
  const shape = { rows, rowsPerSample, columns: part.rows, inputs, dtype };
  return rec.choose({
    key: `linear ${part.rows}x${inputs} ${dtype} @${rowsPerSample}`,
    work: rowsPerSample * part.rows * inputs,
    candidates: likelyVariants(rec.gpu, shape),
    record: (trial, variant) => {
      const parts = [{ ...part, tensor: trial.standIn(part.tensor), rowStart: 0 }];
      linear(trial, {
        x: trial.alloc([1, rowsPerSample, inputs], "x"),
        weight: { shape: [part.rows, inputs], parts, rowStride: rowStride(inputs) },
        label,
        variant,
      });
    },
  });
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
  if (k! % blockValues !== 0 && weight.parts.some((part) => part.quantized)) {
    fail("a quantised weight", weight.shape, `a multiple of ${blockValues} columns`);
  }
  const shape = [...x.shape.slice(0, -1), n];
  if (into && `${into.shape}` !== `${shape}`) fail("into", into.shape, `[${shape}]`);
  if (gate && (gate.offset % 4 || gate.stride % 4 || n! % 4)) {
    throw new TypeError(
      `linear/${label}: a gate needs an offset, a stride and N that are multiples of 4, not ` +
        `${gate.offset}, ${gate.stride} and ${n}`,
    );
  }
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
