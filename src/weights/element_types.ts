/** What a checkpoint's elements are, whatever its container calls them. */

/** Values that are stored together, and the bytes that they take. */
interface Block {
  readonly values: number;
  readonly bytes: number;
}

const single = (bytes: number): Block => ({ values: 1, bytes });

/** Types that weights may have. The last two are ggml's: a block is a scale in f16, then integers. */
const realTypes = {
  F64: single(8),
  F32: single(4),
  F16: single(2),
  BF16: single(2),
  F8_E4M3: single(1),
  F8_E5M2: single(1),
  Q8_0: { values: 32, bytes: 34 },
  Q4_0: { values: 32, bytes: 18 },
} as const satisfies Record<string, Block>;

/** Types that never hold weights; files have them for other things. */
const integerTypes = {
  I64: single(8),
  I32: single(4),
  I16: single(2),
  I8: single(1),
  U64: single(8),
  U32: single(4),
  U16: single(2),
  U8: single(1),
  BOOL: single(1),
};

export type RealType = keyof typeof realTypes;
export type ElementType = RealType | keyof typeof integerTypes;

export const blocks: Readonly<Record<ElementType, Block>> = { ...realTypes, ...integerTypes };
export const realTypeNames = Object.keys(realTypes) as readonly RealType[];

export function isReal(type: ElementType): type is RealType {
  return type in realTypes;
}

/** Bytes of neighbouring values, which begin a block; not whole if they end inside one. */
export function byteLength(type: ElementType, values: number): number {
  const { values: together, bytes } = blocks[type];
  return values / together * bytes;
}
