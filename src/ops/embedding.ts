import source from "../../kernels/embedding.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { checkTable, checkTensor, tableStride } from "./support/check.ts";
import type { KernelUse } from "./support/kernel_use.ts";
import type { Matrix } from "./support/matrix.ts";

export interface EmbeddingOptions {
  /** u32 (B, T), every id below the table's row count: the tokenizers see to it. */
  readonly ids: Tensor;
  /** (V, C), f32 or f16; C a multiple of 4. */
  readonly table: Matrix;
  /** (P, C) in one part, P at least T: row t is added to token t. */
  readonly positions?: Matrix | undefined;
  readonly label: string;
}

const kernel = defineKernel("embedding", source);

/** Token embeddings, with learned positions where the model has them: (B, T, C). */
export function embedding(rec: Recorder, options: EmbeddingOptions): Tensor {
  const { ids, table, positions, label } = options;
  checkTensor("embedding", "ids", ids, [null, null], "u32");
  const [batch, tokens] = ids.shape as [number, number];
  const channels = checkTable("embedding", "table", table);
  if (positions) {
    const width = checkTable("embedding", "positions", positions);
    if (width !== channels || positions.shape[0]! < tokens || positions.parts.length !== 1) {
      throw new TypeError(
        `embedding: positions [${positions.shape}] in ${positions.parts.length} parts, ` +
          `wanted [${tokens} or more, ${channels}] in one`,
      );
    }
  }
  const y = rec.alloc([batch, tokens, channels], label);
  const place = positions?.parts[0]?.tensor;
  const count = batch * tokens * channels / 4;
  for (const { tensor, rowStart, rows } of table.parts) {
    rec.dispatch({
      label: `embedding/${label}`,
      kernel,
      specialise: {
        override: {
          TABLE_F16: tensor.dtype === "f16",
          POSITIONS: !!place,
          POSITIONS_F16: place?.dtype !== "f32",
        },
      },
      bindings: { ids, table: tensor, positions: place ?? rec.gpu.absent, y },
      params: {
        count,
        channels4: channels / 4,
        tokens,
        row_start: rowStart,
        part_rows: rows,
        stride4: tableStride(table) / 4,
        position_stride4: positions ? tableStride(positions) / 4 : 0,
      },
      grid: flatGrid(count),
    });
  }
  return y;
}

const flags = [false, true];

export const embeddingUses: readonly KernelUse[] = [{
  kernel,
  specialisations: flags.flatMap((TABLE_F16) => [
    { override: { TABLE_F16, POSITIONS: false, POSITIONS_F16: true } },
    ...flags.map((POSITIONS_F16) => ({ override: { TABLE_F16, POSITIONS: true, POSITIONS_F16 } })),
  ]),
}];
