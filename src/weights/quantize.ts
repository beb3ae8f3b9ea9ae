/**
 * Weights as blocks of 32 integers with a scale: the arithmetic of ggml's reference quantisers
 * (`quantize_row_q8_0_ref`, `quantize_row_q4_0_ref`), in float32 and to the bit.
 */
import { blockValues, type QuantType, quantWords, scaleWords } from "../gpu/quantized.ts";
import { halfBits } from "./convert.ts";

/** Rows as they lie in GPU memory. */
export interface QuantizedRows {
  /** `quantWords(type, k)` words a row: integers in the order of k, from the lowest bits on. */
  readonly quants: Uint32Array<ArrayBuffer>;
  /** `scaleWords(k)` words a row: f16, two a word. */
  readonly scales: Uint32Array<ArrayBuffer>;
}

const { fround, abs, max } = Math;

/**
 * Quantises rows of `k` values, a multiple of 32. Undefined if a value is not finite or a scale
 * beyond f16: blocks cannot stand for those.
 */
export function quantize(
  type: QuantType,
  values: Float32Array,
  k: number,
): QuantizedRows | undefined {
  if (k % blockValues !== 0 || values.length % k !== 0) {
    throw new TypeError(`Cannot quantise ${values.length} values in rows of ${k}`);
  }
  const rows = values.length / k;
  const quants = new Uint32Array(rows * quantWords(type, k));
  const scales = new Uint32Array(rows * scaleWords(k));
  const quantizeBlock = type === "q8_0" ? eightBits(values, quants) : fourBits(values, quants);
  const halves = new Uint16Array(scales.buffer);
  const blocks = k / blockValues;
  for (let row = 0; row < rows; row++) {
    const to = row * 2 * scaleWords(k);
    for (let block = 0; block < blocks; block++) {
      const scale = halfBits(quantizeBlock(row * k + block * blockValues));
      if ((scale & 0x7c00) === 0x7c00) return undefined;
      halves[to + block] = scale;
    }
  }
  return { quants, scales };
}

/** 1 / d; 0 where d is, and where it is too small for f32 to hold that: the scale is 0 in f16. */
function inverse(d: number): number {
  const id = d === 0 ? 0 : fround(1 / d);
  return abs(id) === Infinity ? 0 : id;
}

/** Quantises the block that begins at value `from` and returns its d. */
function eightBits(values: Float32Array, quants: Uint32Array<ArrayBuffer>) {
  const bytes = new Int8Array(quants.buffer);
  return (from: number): number => {
    // NaN stays in a maximum.
    let largest = 0;
    for (let i = from; i < from + blockValues; i++) largest = max(largest, abs(values[i]!));
    const d = fround(largest / 127);
    const id = inverse(d);
    for (let i = from; i < from + blockValues; i++) {
      // To the nearest, halves away from zero as C's roundf does it.
      const raised = fround(values[i]! * id) + 128.5;
      const q = raised | 0;
      bytes[i] = q === raised && q <= 128 ? q - 129 : q - 128;
    }
    return d;
  };
}

/** As `eightBits`; the value of largest magnitude becomes -8, so d takes the other sign. */
function fourBits(values: Float32Array, quants: Uint32Array<ArrayBuffer>) {
  const bytes = new Uint8Array(quants.buffer);
  return (from: number): number => {
    let largest = 0;
    let extreme = 0;
    for (let i = from; i < from + blockValues; i++) {
      const value = values[i]!;
      const magnitude = abs(value);
      // Nothing is larger than NaN, and NaN larger than all.
      if (!(magnitude <= largest)) {
        largest = magnitude;
        extreme = value;
      }
      if (magnitude !== magnitude) return NaN;
    }
    const d = fround(extreme / -8);
    const id = inverse(d);
    for (let i = from; i < from + blockValues; i += 2) {
      const even = fround(fround(values[i]! * id) + 8.5) | 0;
      const odd = fround(fround(values[i + 1]! * id) + 8.5) | 0;
      // 16 becomes 15; q - 8 in two's complement.
      bytes[i >> 1] = (even - (even >> 4) | (odd - (odd >> 4)) << 4) ^ 0x88;
    }
    return d;
  };
}
