import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { embedding } from "../ops/embedding.ts";
import type { Parameter } from "../weights/parameter.ts";
import type { DeclaredWeights } from "../weights/declared.ts";

/** A table of vectors, looked up by token or by position. */
export class Embedding {
  readonly path: string;
  readonly table: Parameter;

  constructor(weights: DeclaredWeights, path: string, rows: number, channels: number) {
    this.path = path;
    this.table = weights.matrix(`${path}.weight`, [rows, channels], { lookup: true });
  }

  /** ids u32 [B, T] to [B, T, channels]; with `positions`, its row t is added to token t. */
  forward(rec: Recorder, ids: Tensor, positions?: Embedding): Tensor {
    const { path: label, table } = this;
    return embedding(rec, { ids, table, positions: positions?.table, label });
  }
}
