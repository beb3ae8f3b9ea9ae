/**
 * RGB pixels to PNG and back, with text beside the pixels. pngjs does the pixels and their
 * compression; it knows no text, which is png_text.ts's part.
 */
import { PNG } from "pngjs";
import type { RgbImage } from "./rgb_image.ts";
import { addPngText, type PngText, readPngText } from "./png_text.ts";

export type { PngText } from "./png_text.ts";

/** PNG's colour type "truecolour", without alpha. */
const truecolour = 2;

/**
 * An 8-bit RGB PNG; the same image and text give the same bytes on one runtime.
 * @param text becomes tEXt chunks where Latin-1 holds it, else iTXt in UTF-8
 * @throws {RangeError} if the pixels do not fit the size, or a keyword is not one
 */
export function encodePng(image: RgbImage, text: PngText = {}): Uint8Array<ArrayBuffer> {
  const { width, height, data } = image;
  if (!isSize(width) || !isSize(height) || data.length !== width * height * 3) {
    throw new RangeError(`${data.length} bytes are not ${width}x${height} RGB pixels`);
  }
  const pixels = nodeBuffer(data);
  const png = PNG.sync.write({ width, height, data: pixels }, {
    colorType: truecolour,
    inputColorType: truecolour,
    inputHasAlpha: false,
  }) as Uint8Array;
  return addPngText(png, text);
}

/**
 * The pixels of a PNG of any colour type as RGB (alpha is dropped, 16 bits become 8) and its text.
 * @throws {Error} if it is not a PNG or damaged
 */
export function decodePng(bytes: Uint8Array): RgbImage & { readonly text: PngText } {
  let png: { width: number; height: number; data: Uint8Array };
  try {
    png = PNG.sync.read(nodeBuffer(bytes));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Not a readable PNG: ${reason}`, { cause });
  }
  const { width, height, data: rgba } = png;
  const data = new Uint8Array(width * height * 3);
  for (let pixel = 0; pixel < width * height; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      data[pixel * 3 + channel] = rgba[pixel * 4 + channel]!;
    }
  }
  return { width, height, data, text: readPngText(bytes) };
}

/**
 * `bytes` in Node's Buffer, whose methods pngjs calls. Taken from a PNG object: pages have no
 * Buffer but the one inside pngjs's browser build.
 */
function nodeBuffer(bytes: Uint8Array): Uint8Array {
  const { data } = new PNG({ width: Math.max(1, Math.ceil(bytes.length / 4)), height: 1 });
  const buffer = data.subarray(0, bytes.length) as Uint8Array;
  buffer.set(bytes);
  return buffer;
}

function isSize(extent: number): boolean {
  return Number.isInteger(extent) && extent > 0;
}
