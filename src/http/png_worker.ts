/** Compresses images away from the thread that answers HTTP. One message in, one out, in order. */

import { toWireError, type WireError } from "../engine/worker/wire_error.ts";
import { encodePng } from "../image/png.ts";
import type { RgbImage } from "../image/rgb_image.ts";

/** What `PngEncoder` sends. */
export interface PngTask {
  readonly image: RgbImage;
  readonly text: Readonly<Record<string, string>>;
}

/** What it gets back. */
export type PngAnswer = { readonly png: Uint8Array<ArrayBuffer> } | { readonly error: WireError };

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<PngTask>) => void) | null;
  postMessage(answer: PngAnswer, transfer: Transferable[]): void;
};

scope.onmessage = ({ data: { image, text } }) => {
  try {
    const png = encodePng(image, text);
    scope.postMessage({ png }, [png.buffer]);
  } catch (error) {
    scope.postMessage({ error: toWireError(error) }, []);
  }
};
