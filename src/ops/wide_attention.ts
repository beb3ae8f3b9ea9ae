import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { linear } from "./linear.ts";
import { matrixOf } from "./support/matrix.ts";
import { softmaxRows } from "./softmax_rows.ts";
import { transpose } from "./transpose.ts";

/** Scores held at once: an image of 1024x1024 has 16,384 tokens, and all scores would be 1 GiB. */
const scoreBytes = 64 << 20;

export interface WideAttentionOptions {
  /** [1, T, D] f32. */
  readonly q: Tensor;
  /** [1, T, D] f32. */
  readonly k: Tensor;
  /** [1, T, D] f32. */
  readonly v: Tensor;
  readonly scale: number;
  readonly label: string;
}

/**
 * Attention of one head of any width, as two products with a chunk of query rows at a time: the VAE's
 * middle block, whose one head is far too wide for registers. [1, T, D].
 */
export function wideAttention(
  rec: Recorder,
  { q, k, v, scale, label }: WideAttentionOptions,
): Tensor {
  const [batch, tokens = 0, width = 0] = q.shape;
  for (const x of [q, k, v]) {
    if (batch !== 1 || x.shape.length !== 3 || `${x.shape}` !== `${q.shape}`) {
      throw new TypeError(
        `${label}: ${x.label} is [${x.shape}], wanted [1, T, D] as q [${q.shape}]`,
      );
    }
  }
  const output = rec.alloc([1, tokens, width], label);
  const keys = matrixOf(k);
  const values = transpose(rec, { x: v, label: `${label}/values` });
  // Multiples of 64 rows begin at offsets that every device binds.
  const chunk = Math.max(64, Math.floor(scoreBytes / (4 * tokens) / 64) * 64);
  for (let start = 0; start < tokens; start += chunk) {
    const rows = Math.min(chunk, tokens - start);
    const queries = rowsOf(q, start, rows);
    const scores = linear(rec, { x: queries, weight: keys, label: `${label}/scores` });
    softmaxRows(rec, { x: scores, scale, label });
    const part = linear(rec, { x: scores, weight: values, label: `${label}/mix` });
    rec.copy(part, rowsOf(output, start, rows));
  }
  return output;
}

/** Rows [start, start + rows) of a [1, T, D] tensor; `start` is a multiple of 64. */
function rowsOf(x: Tensor, start: number, rows: number): Tensor {
  const rowBytes = 4 * x.shape[2]!;
  return {
    ...x,
    shape: [1, rows, x.shape[2]!],
    byteOffset: x.byteOffset + start * rowBytes,
    byteLength: rows * rowBytes,
  };
}
