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

const { fround, abs, min } = Math;

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
    let largest = 0;
    for (let i = from; i < from + blockValues; i++) {
      const magnitude = abs(values[i]!);
      // The comparison that also lets NaN in, and nothing over it.
      if (!(magnitude <= largest)) largest = magnitude;
      if (largest !== largest) return NaN;
    }
    const d = fround(largest / 127);
    const id = inverse(d);
    for (let i = from; i < from + blockValues; i++) {
      const scaled = fround(values[i]! * id);
      // Halves away from zero, as C's roundf.
      bytes[i] = scaled < 0 ? scaled - 0.5 : scaled + 0.5;
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
      const magnitude = abs(values[i]!);
      if (!(magnitude <= largest)) {
        largest = magnitude;
        extreme = values[i]!;
      }
      if (largest !== largest) return NaN;
    }
    const d = fround(extreme / -8);
    const id = inverse(d);
    const nibble = (i: number) => {
      const q = min(15, Math.trunc(fround(fround(values[i]! * id) + 8.5)));
      // q - 8 in two's complement.
      return q ^ 8;
    };
    for (let i = from; i < from + blockValues; i += 2) {
      bytes[i / 2] = nibble(i) | (nibble(i + 1) << 4);
    }
    return d;
  };
}
