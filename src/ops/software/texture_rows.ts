import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { ScratchTexture } from "../../gpu/texture.ts";

/** Bytes of rows in the texture at once. */
const passBytes = 32 * 2 ** 20;
/** Texels of whole rows side by side, if they are short: one texture for tensors of many widths. */
const usedTexels = 256;
/** Lines of texels a whole number of pages apart would share few of a cache's sets. */
const paddingTexels = 4;
/** Values that a line of texels must be a multiple of: copies want 256 bytes. */
const copyGranule = 64;

/**
 * How rows of f32 values lie in a texture: row i has its values 4 e to 4 e + 3 in texel
 * (i % 2^shift * rowTexels + e, i / 2^shift).
 */
export interface RowTexture {
  readonly rowTexels: number;
  readonly shift: number;
  readonly texture: ScratchTexture;
  /** Rows that go into it at once, a multiple of 16. */
  readonly rowsAtOnce: number;
}

/** A texture for rows of `values` values, a multiple of 8, of which one pass needs `least`. */
export function rowTexture(rec: Recorder, values: number, least: number): RowTexture {
  const largest = rec.gpu.limits.maxTextureDimension2D;
  const rowTexels = values / 4;
  let shift = 0;
  while (
    rowTexels << (shift + 1) <= usedTexels || (values << shift) % copyGranule !== 0 ||
    Math.ceil(least / 2 ** shift) > largest
  ) shift++;
  const width = Math.max(usedTexels, rowTexels << shift) + paddingTexels;
  if (width > largest) {
    throw new TypeError(
      `${least} rows of ${values} values at once are more than this device's textures hold`,
    );
  }
  const most = Math.min(largest, Math.floor(passBytes / 16 / width)) << shift;
  const texture = rec.scratchTexture(width);
  return { rowTexels, shift, texture, rowsAtOnce: Math.max(least, Math.floor(most / 16) * 16) };
}

/** Records a copy of rows `first` to `first + count` of x, whatever its shape, into the texture. */
export function copyRows(
  rec: Recorder,
  x: Tensor,
  { rowTexels, shift, texture }: RowTexture,
  first: number,
  count: number,
): void {
  const lines = count >> shift;
  const rest = count - (lines << shift);
  const lineTexels = rowTexels << shift;
  const bytesPerRow = 16 * lineTexels;
  const byteOffset = 16 * rowTexels * first;
  const whole = { byteOffset, bytesPerRow, width: lineTexels, height: lines, x: 0, y: 0 };
  if (lines > 0) rec.copyToTexture(x, texture, whole);
  if (rest > 0) {
    rec.copyToTexture(x, texture, {
      ...whole,
      byteOffset: byteOffset + lines * bytesPerRow,
      width: rest * rowTexels,
      height: 1,
      y: lines,
    });
  }
}
