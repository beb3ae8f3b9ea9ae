/**
 * Tensors in files: what they are and where their bytes lie. A tensor that a network declares need
 * not be stored as one: rows of a larger one, or several below each other, will do.
 */
import { elements } from "../gpu/tensor.ts";
import { byteLength, type ElementType } from "./element_types.ts";

/** Bytes `start` to `end` (exclusive) of a file. */
export interface ByteRange {
  readonly file: string;
  readonly start: number;
  readonly end: number;
}

export interface StoredTensor {
  readonly type: ElementType;
  readonly shape: readonly number[];
  /** Where its bytes lie: whole rows each, in order. */
  readonly ranges: readonly ByteRange[];
}

/** Bytes of a tensor in its files. */
export function storedBytes({ ranges }: StoredTensor): number {
  return ranges.reduce((sum, { start, end }) => sum + end - start, 0);
}

/** What lies from byte `from` to byte `to` (exclusive) of ranges one after the other. */
export function cutRanges(ranges: readonly ByteRange[], from: number, to: number): ByteRange[] {
  const cut: ByteRange[] = [];
  let at = 0;
  for (const { file, start, end } of ranges) {
    const first = start + Math.max(0, from - at);
    const last = Math.min(end, start + to - at);
    if (first < last) cut.push({ file, start: first, end: last });
    at += end - start;
  }
  return cut;
}

/** Rows `from` to `to` (exclusive) along the first axis. */
export function rowsOf(tensor: StoredTensor, from: number, to: number): StoredTensor {
  const [rows = 1, ...rest] = tensor.shape;
  if (!(from >= 0 && from < to && to <= rows)) {
    throw new RangeError(`[${tensor.shape}] has no rows ${from} to ${to}`);
  }
  const row = byteLength(tensor.type, elements(rest));
  return {
    type: tensor.type,
    shape: [to - from, ...rest],
    ranges: cutRanges(tensor.ranges, from * row, to * row),
  };
}

/** Tensors of one type and of rows of one shape, one below the other. */
export function stacked(first: StoredTensor, ...others: readonly StoredTensor[]): StoredTensor {
  const all = [first, ...others];
  const [, ...rest] = first.shape;
  if (all.some(({ type, shape }) => type !== first.type || `${shape.slice(1)}` !== `${rest}`)) {
    throw new TypeError("Only tensors of one type and of rows of one shape can be stacked");
  }
  return {
    type: first.type,
    shape: [all.reduce((sum, { shape }) => sum + shape[0]!, 0), ...rest],
    ranges: all.flatMap(({ ranges }) => ranges),
  };
}

/** The second half of the rows above the first: (shift, scale) as (scale, shift). */
export function halvesSwapped(tensor: StoredTensor): StoredTensor {
  const [rows = 0] = tensor.shape;
  return stacked(rowsOf(tensor, rows / 2, rows), rowsOf(tensor, 0, rows / 2));
}
