/** Stored element types to the two that lie in GPU memory: f32, and f16 as its 16 bits. */
import { storedBytes, type StoredType } from "./safetensors.ts";

/** Stored types that a parameter may have. Integers never hold weights. */
export const floatTypes = ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"] as const;
export type FloatType = (typeof floatTypes)[number];

export function isFloatType(dtype: StoredType): dtype is FloatType {
  return (floatTypes as readonly string[]).includes(dtype);
}

/** True where f16 holds every value of the type, or may (bfloat16, if none is too large). */
export function isNarrow(dtype: FloatType): boolean {
  return dtype !== "F64" && dtype !== "F32";
}

/** Bits of the binary16 number nearest to `value`, ties to even. */
export function halfBits(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (Number.isNaN(magnitude)) return 0x7e00;
  // 65520 is half-way between the largest finite number and the next power of two.
  if (magnitude >= 65520) return sign | 0x7c00;
  const exponent = Math.max(-14, Math.floor(Math.log2(magnitude || 2 ** -30)));
  // In units of the last place; exact, since it only divides by a power of two.
  const units = roundToEven(magnitude / 2 ** (exponent - 10));
  // A carry out of the fraction moves into the exponent by itself; subnormals have exponent 0.
  return sign | (((exponent + 14) << 10) + units);
}

function roundToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

/** A small IEEE-like float: sign, `exponentBits`, `fractionBits`. */
function decode(bits: number, exponentBits: number, fractionBits: number): number {
  const sign = bits >> (exponentBits + fractionBits) ? -1 : 1;
  const exponent = (bits >> fractionBits) & ((1 << exponentBits) - 1);
  const fraction = bits & ((1 << fractionBits) - 1);
  const bias = (1 << (exponentBits - 1)) - 1;
  if (exponent === (1 << exponentBits) - 1) return fraction ? NaN : sign * Infinity;
  return exponent === 0
    ? sign * fraction * 2 ** (1 - bias - fractionBits)
    : sign * (1 + fraction * 2 ** -fractionBits) * 2 ** (exponent - bias);
}

const decoders: Record<Exclude<FloatType, "F64" | "F32">, (bits: number) => number> = {
  F16: (bits) => decode(bits, 5, 10),
  BF16: (bits) => decode(bits, 8, 7),
  // "fn": no infinities, the all-ones exponent is an ordinary one except for its last value.
  F8_E4M3: (bits) => {
    if ((bits & 0x7f) === 0x7f) return NaN;
    const exponent = (bits >> 3) & 15;
    const fraction = bits & 7;
    const magnitude = exponent === 0
      ? fraction * 2 ** -9
      : (1 + fraction / 8) * 2 ** (exponent - 7);
    return bits & 0x80 ? -magnitude : magnitude;
  },
  F8_E5M2: (bits) => decode(bits, 5, 2),
};

/** Conversions are look-ups: one table a type, made when first used (at most 256 KiB each). */
const floatTables = new Map<FloatType, Float32Array<ArrayBuffer>>();
const halfTables = new Map<FloatType, Uint16Array<ArrayBuffer>>();

function floatTable(dtype: Exclude<FloatType, "F64" | "F32">): Float32Array<ArrayBuffer> {
  let table = floatTables.get(dtype);
  if (!table) {
    const decoder = decoders[dtype];
    table = Float32Array.from(
      { length: storedBytes[dtype] === 1 ? 256 : 65536 },
      (_, i) => decoder(i),
    );
    floatTables.set(dtype, table);
  }
  return table;
}

function halfTable(dtype: Exclude<FloatType, "F64" | "F32" | "F16">): Uint16Array<ArrayBuffer> {
  let table = halfTables.get(dtype);
  if (!table) {
    table = Uint16Array.from(floatTable(dtype), halfBits);
    halfTables.set(dtype, table);
  }
  return table;
}

/** `bytes` as elements, copied only where they do not lie aligned. Hosts are little endian. */
function units(bytes: Uint8Array<ArrayBuffer>, size: 1 | 2): Uint8Array | Uint16Array {
  if (size === 1) return bytes;
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 2);
}

/** Values of `dtype` as float32. */
export function toFloat(dtype: FloatType, bytes: Uint8Array<ArrayBuffer>): Float32Array {
  if (dtype === "F32" || dtype === "F64") {
    const size = storedBytes[dtype];
    const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
    const count = aligned.byteLength / size;
    return dtype === "F32"
      ? new Float32Array(aligned.buffer, aligned.byteOffset, count)
      : Float32Array.from(new Float64Array(aligned.buffer, aligned.byteOffset, count));
  }
  const table = floatTable(dtype);
  const source = units(bytes, storedBytes[dtype]);
  const floats = new Float32Array(source.length);
  for (let i = 0; i < source.length; i++) floats[i] = table[source[i]!]!;
  return floats;
}

/**
 * Values of a narrow type as the bits of f16, rounded to nearest (bfloat16 below 2^-14 loses bits,
 * at most 2^-25 in value). Undefined if a bfloat16 value is too large, infinite or not a number:
 * f16 cannot stand for it.
 */
export function toHalf(dtype: FloatType, bytes: Uint8Array<ArrayBuffer>): Uint16Array | undefined {
  if (dtype === "F32" || dtype === "F64") throw new TypeError(`${dtype} is not stored as f16`);
  const source = units(bytes, storedBytes[dtype]);
  if (dtype === "F16") return source as Uint16Array;
  const table = halfTable(dtype);
  const halves = new Uint16Array(source.length);
  let isFinite = true;
  for (let i = 0; i < source.length; i++) {
    const bits = table[source[i]!]!;
    isFinite &&= (bits & 0x7c00) !== 0x7c00;
    halves[i] = bits;
  }
  return isFinite || dtype !== "BF16" ? halves : undefined;
}
