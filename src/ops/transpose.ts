import source from "../../kernels/transpose.wgsl" with { type: "text" };
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { rowStride, type Tensor } from "../gpu/tensor.ts";
import type { KernelUse } from "./support/kernel_use.ts";
import type { Matrix } from "./support/matrix.ts";

const kernel = defineKernel("transpose", source);

export const transposeUses: KernelUse[] = [{ kernel, specialisations: [{}] }];

export interface TransposeOptions {
  /** [R, C] or [1, R, C] f32. */
  readonly x: Tensor;
  readonly label: string;
}

/**
 * The transpose [C, R] of `x` as a matrix to multiply with: its rows are padded with zeros as a
 * weight's are.
 */
export function transpose(rec: Recorder, { x, label }: TransposeOptions): Matrix {
  const [rows, columns] = x.shape.slice(-2);
  if (rows === undefined || columns === undefined || x.shape.slice(0, -2).some((n) => n !== 1)) {
    throw new TypeError(`${label}: Cannot transpose [${x.shape}], wanted [R, C] or [1, R, C]`);
  }
  const stride = rowStride(rows);
  const y = rec.alloc([columns, stride], label);
  rec.dispatch({
    label: `transpose/${label}`,
    kernel,
    bindings: { x, y },
    params: { rows, columns, stride4: stride / 4 },
    grid: [Math.ceil(columns / 64), stride / 4],
  });
  const tensor = { ...y, shape: [columns, rows] };
  return { shape: [columns, rows], parts: [{ tensor, rowStart: 0, rows: columns }] };
}
