/**
 * PNG compression in a worker of its own: a megapixel takes a tenth of a second, and the thread
 * that answers HTTP must not stand still for it.
 */

import { fromWireError } from "../engine/worker/wire_error.ts";
import type { RgbImage } from "../image/rgb_image.ts";
import type { PngAnswer, PngTask } from "./png_worker.ts";

/** Pixels and text chunks to a PNG file. */
export type EncodePng = (
  image: RgbImage,
  text?: Readonly<Record<string, string>>,
) => Promise<Uint8Array<ArrayBuffer>>;

interface Pending {
  readonly settle: (png: Uint8Array<ArrayBuffer>) => void;
  readonly fail: (error: Error) => void;
}

export class PngEncoder {
  readonly #worker: Worker;
  /** The worker answers in order, so the first of these is the next answer's. */
  readonly #pending: Pending[] = [];
  #broken: Error | undefined;

  constructor() {
    this.#worker = new Worker(new URL("./png_worker.ts", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent<PngAnswer>) => {
      const pending = this.#pending.shift();
      if ("png" in data) pending?.settle(data.png);
      else pending?.fail(fromWireError(data.error));
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#break(new Error(`The PNG worker broke: ${event.message}`));
    };
  }

  /** The pixels are copied: the caller keeps them. */
  readonly encode: EncodePng = (image, text = {}) => {
    if (this.#broken !== undefined) return Promise.reject(this.#broken);
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
    this.#pending.push({ settle: resolve, fail: reject });
    const { width, height, data } = image;
    const copy = data.slice();
    const task: PngTask = { image: { width, height, data: copy }, text };
    this.#worker.postMessage(task, [copy.buffer]);
    return promise;
  };

  close(): void {
    this.#worker.terminate();
    this.#break(new Error("The PNG encoder is closed"));
  }

  #break(error: Error): void {
    this.#broken ??= error;
    for (const pending of this.#pending.splice(0)) pending.fail(this.#broken);
  }
}
