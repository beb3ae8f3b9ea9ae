import source from "../../kernels/resize_rows.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import type { KernelUse } from "./support/kernel_use.ts";

const kernel = defineKernel("resize_rows", source);

export const resizeRowsUses: KernelUse[] = [{ kernel, specialisations: [{}] }];

export interface ResizeRowsOptions {
  /** [..., C] f32. */
  readonly x: Tensor;
  /** Width of the rows of the result: more than C adds zeros, less cuts. */
  readonly columns: number;
  readonly label: string;
}

/** Rows made wider with zeros, or narrower: what kernels with 16-byte loads need of odd widths. */
export function resizeRows(rec: Recorder, { x, columns, label }: ResizeRowsOptions): Tensor {
  const width = x.shape.at(-1) ?? 1;
  const rows = elements(x.shape) / width;
  const shape = [...x.shape.slice(0, -1), columns];
  const y = rec.alloc(shape, label);
  rec.dispatch({
    label: `resize_rows/${label}`,
    kernel,
    bindings: { x, y },
    params: { rows, in_columns: width, out_columns: columns },
    grid: flatGrid(rows * columns),
  });
  return y;
}
