/**
 * How a declared parameter lies in the checkpoint and in GPU memory. Everything is rows: a source
 * row of a stored tensor becomes a target row of the GPU tensor, so that any range of rows can be
 * converted and written on its own.
 */
import { elements, rowStride } from "../gpu/tensor.ts";

export interface RowLayout {
  /** Shape of the GPU tensor; the last extent without its rows' padding for a matrix. */
  readonly shape: readonly number[];
  /** For each stored tensor the shapes it may have: its own first, as published checkpoints last. */
  readonly storedShapes: readonly (readonly (readonly number[])[])[];
  /** Rows of each stored tensor. */
  readonly rows: readonly number[];
  /** Values in a row as stored, and in GPU memory. */
  readonly sourceRow: number;
  readonly targetRow: number;
  /** Products are made with it, so that kernels may want it in a layout of their own. */
  readonly isFactor: boolean;
  /** Vectors are f32 whatever is stored, and are bound whole. */
  readonly isVector: boolean;
  /** Positions of a convolution's kernel, the fastest axis of a source row; 1 for all else. */
  readonly taps: number;
}

/** Stored tensors [rows[i], K], one below the other. */
export function matrixLayout(
  rows: readonly number[],
  k: number,
  otherShapes: readonly (readonly number[])[] = [],
): RowLayout {
  return {
    shape: [sum(rows), k],
    storedShapes: rows.map((n) => [[n, k], ...otherShapes]),
    rows,
    sourceRow: k,
    targetRow: rowStride(k),
    isFactor: true,
    isVector: false,
    taps: 1,
  };
}

/** Stored vectors of these lengths, one after the other. */
export function vectorLayout(lengths: readonly number[]): RowLayout {
  return {
    shape: [sum(lengths)],
    storedShapes: lengths.map((length) => [[length]]),
    rows: lengths,
    sourceRow: 1,
    targetRow: 1,
    isFactor: false,
    isVector: true,
    taps: 1,
  };
}

/**
 * A convolution's [O, I, kh, kw] as [O, kh, kw, I padded to a multiple of 8]: the input channels of
 * one tap side by side, so that an implicit GEMM reads eight of them at once.
 */
export function convLayout([o, i, kh, kw]: readonly [number, number, number, number]): RowLayout {
  const padded = rowStride(i);
  return {
    shape: [o, kh, kw, padded],
    storedShapes: [[[o, i, kh, kw]]],
    rows: [o],
    sourceRow: i * kh * kw,
    targetRow: kh * kw * padded,
    isFactor: true,
    isVector: false,
    taps: kh * kw,
  };
}

/** A table of vectors: rows of the last axis, dense (no padding), in the stored shape. */
export function tableLayout(shape: readonly number[]): RowLayout {
  const width = shape.at(-1) ?? 1;
  return {
    shape,
    storedShapes: [[shape]],
    rows: [elements(shape.slice(0, -1))],
    sourceRow: width,
    targetRow: width,
    isFactor: false,
    isVector: false,
    taps: 1,
  };
}

/**
 * Source rows as target rows: padded with zeros, a convolution's taps moved before its channels.
 * Halves fill whole 4-byte words; floats get nothing behind their last row, where another tensor's
 * rows may lie. The result may be `source` itself.
 */
export function packRows<T extends Float32Array | Uint16Array>(layout: RowLayout, source: T): T {
  const { sourceRow, targetRow, taps } = layout;
  const isDense = sourceRow === targetRow && taps === 1;
  const perWord = 4 / source.BYTES_PER_ELEMENT;
  if (isDense && source.length % perWord === 0) return source;
  const rows = source.length / sourceRow;
  const length = Math.ceil(rows * targetRow / perWord) * perWord;
  const target = new (source.constructor as { new (length: number): T })(length);
  if (isDense) {
    target.set(source);
    return target;
  }
  const width = sourceRow / taps;
  const stride = targetRow / taps;
  for (let row = 0; row < rows; row++) {
    for (let tap = 0; tap < taps; tap++) {
      const from = row * sourceRow + tap;
      const to = row * targetRow + tap * stride;
      for (let i = 0; i < width; i++) target[to + i] = source[from + i * taps]!;
    }
  }
  return target;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
