/** Pixels of the core as images that a page can show. Both ways are free of loss. */
import { addPngText, type PngText } from "../image/png_text.ts";
import type { RgbImage } from "../image/rgb_image.ts";

/** A PNG of the image with text in it, compressed by the browser, off the page's thread. */
export async function toPngBlob(image: RgbImage, text: PngText): Promise<Blob> {
  const canvas = new OffscreenCanvas(image.width, image.height);
  draw(canvas.getContext("2d"), image);
  const png = await canvas.convertToBlob({ type: "image/png" });
  return new Blob([addPngText(new Uint8Array(await png.arrayBuffer()), text)], { type: png.type });
}

/** A data URL, at once: for previews, which are small and short-lived. */
export function toDataUrl(image: RgbImage): string {
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  draw(canvas.getContext("2d"), image);
  return canvas.toDataURL("image/png");
}

function draw(
  context: CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D | null,
  { width, height, data }: RgbImage,
): void {
  if (context === null) throw new Error("The browser gave no canvas to draw on");
  const pixels = context.createImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    pixels.data.set(data.subarray(3 * pixel, 3 * pixel + 3), 4 * pixel);
    pixels.data[4 * pixel + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
}
