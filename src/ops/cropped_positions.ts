import source from "../../kernels/cropped_positions.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { checkTable, tableStride } from "./support/check.ts";
import type { KernelUse } from "./support/kernel_use.ts";
import type { Matrix } from "./support/matrix.ts";

export interface CroppedPositionsOptions {
  /** (maxSize * maxSize, C), f32 or f16; C a multiple of 4. */
  readonly table: Matrix;
  readonly maxSize: number;
  /** In patches, at most maxSize. */
  readonly height: number;
  readonly width: number;
  readonly batch: number;
  readonly label: string;
}

const kernel = defineKernel("cropped_positions", source);

/** The middle of the position table, (batch, height * width, C): `PatchEmbed.cropped_pos_embed`. */
export function croppedPositions(rec: Recorder, options: CroppedPositionsOptions): Tensor {
  const { table, maxSize, height, width, batch, label } = options;
  const channels = checkTable("croppedPositions", "table", table);
  if (table.shape[0] !== maxSize * maxSize || height > maxSize || width > maxSize) {
    throw new TypeError(
      `croppedPositions: a table [${table.shape}] of ${maxSize} x ${maxSize} positions ` +
        `cannot give ${height} x ${width}`,
    );
  }
  const y = rec.alloc([batch, height * width, channels], label);
  const count = batch * height * width * channels / 4;
  for (const { tensor, rowStart, rows } of table.parts) {
    rec.dispatch({
      label: `croppedPositions/${label}`,
      kernel,
      specialise: { override: { TABLE_F16: tensor.dtype === "f16" } },
      bindings: { table: tensor, y },
      params: {
        count,
        channels4: channels / 4,
        stride4: tableStride(table) / 4,
        max_size: maxSize,
        top: Math.floor((maxSize - height) / 2),
        left: Math.floor((maxSize - width) / 2),
        height,
        width,
        row_start: rowStart,
        part_rows: rows,
      },
      grid: flatGrid(count),
    });
  }
  return y;
}

export const croppedPositionsUses: readonly KernelUse[] = [{
  kernel,
  specialisations: [false, true].map((TABLE_F16) => ({ override: { TABLE_F16 } })),
}];
