/** Stored element types to the two that lie in GPU memory: f32, and f16 as its 16 bits. */
import { blocks, type RealType } from "./element_types.ts";

type WideType = "F64" | "F32";
type BlockType = "Q8_0" | "Q4_0";
/** Types of at most 16 bits: their conversions are look-ups. */
type NarrowType = Exclude<RealType, WideType | BlockType>;

/** True where f16 holds every value of the type, or may (bfloat16, if none is too large). */
export function isNarrow(type: RealType): type is NarrowType | BlockType {
  return type !== "F64" && type !== "F32";
}

function isBlock(type: RealType): type is BlockType {
  return blocks[type].values > 1;
}

const half = new Float16Array(1);
const bitsOfHalf = new Uint16Array(half.buffer);

/** Bits of the binary16 number nearest to `value`, ties to even. */
export function halfBits(value: number): number {
  half[0] = value;
  return bitsOfHalf[0]!;
}

/** All bit patterns of so many bits, shifted left. */
function patterns(bits: 8 | 16, shift: number): number[] {
  return Array.from({ length: 2 ** bits }, (_, i) => i << shift);
}

function halves(bits: readonly number[]): Float32Array<ArrayBuffer> {
  return Float32Array.from(new Float16Array(Uint16Array.from(bits).buffer));
}

const makeTable: Record<NarrowType, () => Float32Array<ArrayBuffer>> = {
  F16: () => halves(patterns(16, 0)),
  // The upper half of an f32.
  BF16: () => new Float32Array(Uint32Array.from(patterns(16, 16)).buffer),
  // "fn": no infinities, the all-ones exponent is an ordinary one except for its last value.
  F8_E4M3: () =>
    Float32Array.from(patterns(8, 0), (bits) => {
      if ((bits & 0x7f) === 0x7f) return NaN;
      const exponent = (bits >> 3) & 15;
      const fraction = bits & 7;
      const magnitude = exponent === 0
        ? fraction * 2 ** -9
        : (1 + fraction / 8) * 2 ** (exponent - 7);
      return bits & 0x80 ? -magnitude : magnitude;
    }),
  // The upper half of an f16.
  F8_E5M2: () => halves(patterns(8, 8)),
};

/** One table a type, made when first used (at most 256 KiB each). */
const floatTables = new Map<NarrowType, Float32Array<ArrayBuffer>>();
const halfTables = new Map<NarrowType, Uint16Array<ArrayBuffer>>();

function floatTable(type: NarrowType): Float32Array<ArrayBuffer> {
  let table = floatTables.get(type);
  if (!table) floatTables.set(type, table = makeTable[type]());
  return table;
}

function halfTable(type: NarrowType): Uint16Array<ArrayBuffer> {
  let table = halfTables.get(type);
  if (!table) halfTables.set(type, table = Uint16Array.from(floatTable(type), halfBits));
  return table;
}

/** `bytes` as elements, copied only where they do not lie aligned. Hosts are little endian. */
function units(bytes: Uint8Array<ArrayBuffer>, type: NarrowType): Uint8Array | Uint16Array {
  if (blocks[type].bytes === 1) return bytes;
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 2);
}

/** Values of `type` as float32. */
export function toFloat(type: RealType, bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  if (isBlock(type)) return blocksToFloat(type, bytes);
  if (!isNarrow(type)) {
    const size = blocks[type].bytes;
    const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
    const count = aligned.byteLength / size;
    return type === "F32"
      ? new Float32Array(aligned.buffer, aligned.byteOffset, count)
      : Float32Array.from(new Float64Array(aligned.buffer, aligned.byteOffset, count));
  }
  const table = floatTable(type);
  const source = units(bytes, type);
  const floats = new Float32Array(source.length);
  for (let i = 0; i < source.length; i++) floats[i] = table[source[i]!]!;
  return floats;
}

/** ggml's blocks of 32: a scale d in f16, then q in int8, or in four bits that count from -8. */
function blocksToFloat(type: BlockType, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const { values, bytes: size } = blocks[type];
  const scales = floatTable("F16");
  const floats = new Float32Array(bytes.length / size * values);
  for (let to = 0; to < floats.length; to += values) {
    const from = to / values * size;
    const d = scales[bytes[from]! | bytes[from + 1]! << 8]!;
    for (let i = 0; i < size - 2; i++) {
      const byte = bytes[from + 2 + i]!;
      if (type === "Q8_0") floats[to + i] = d * (byte << 24 >> 24);
      else {
        // The low halves are the first sixteen values, the high ones the others.
        floats[to + i] = d * ((byte & 15) - 8);
        floats[to + i + values / 2] = d * ((byte >> 4) - 8);
      }
    }
  }
  return floats;
}

/**
 * Values of a narrow type as the bits of f16, rounded to nearest (bfloat16 below 2^-14 loses bits,
 * at most 2^-25 in value). Undefined if a value of bfloat16 or of a block is too large, infinite or
 * not a number: f16 cannot stand for it.
 */
export function toHalf(type: RealType, bytes: Uint8Array<ArrayBuffer>): Uint16Array | undefined {
  if (!isNarrow(type)) throw new TypeError(`${type} is not stored as f16`);
  if (isBlock(type)) {
    const halves = new Uint16Array(Float16Array.from(blocksToFloat(type, bytes)).buffer);
    return halves.some((bits) => (bits & 0x7c00) === 0x7c00) ? undefined : halves;
  }
  const source = units(bytes, type);
  if (type === "F16") return source as Uint16Array;
  const table = halfTable(type);
  const halves = new Uint16Array(source.length);
  let isFinite = true;
  for (let i = 0; i < source.length; i++) {
    const bits = table[source[i]!]!;
    isFinite &&= (bits & 0x7c00) !== 0x7c00;
    halves[i] = bits;
  }
  return isFinite || type !== "BF16" ? halves : undefined;
}
