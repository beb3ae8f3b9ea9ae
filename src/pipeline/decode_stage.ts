/**
 * Latents to pixels. Whole where the decoder's activations fit, else in overlapping tiles: each tile
 * is one submit, so that denoising goes on between them.
 */
import { Mutex } from "async-mutex";
import type { Gpu } from "../gpu/device.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { spans, TileCanvas } from "../image/tiles.ts";
import type { DecoderComponent } from "../models/sd3/components.ts";
import { vaeScale } from "../models/sd3/configs.ts";
import { Recorded } from "../nn/recorded.ts";
import { toRgba8 } from "../ops/to_rgba8.ts";
import type { RgbImage } from "../image/rgb_image.ts";

/** Latents that neighbouring tiles share, of a tile's edge; diffusers' `tile_overlap_factor`. */
const overlapFraction = 0.25;

const smallestTile = 8;
const defaultBytes = 2 ** 30;

export interface DecodeStageOptions {
  /** Bytes that a decode's activations may take; default 1 GiB. */
  readonly maxBytes?: number | undefined;
}

export interface DecodeOptions {
  readonly signal?: AbortSignal | undefined;
  /** Largest tile edge in latents; default: as large as the device allows. */
  readonly maxTile?: number | undefined;
}

export class DecodeStage {
  readonly #gpu: Gpu;
  readonly #decoder: DecoderComponent;
  readonly #scale: number;
  /** Largest latent area decoded at once: what the device binds and what memory is meant for it. */
  readonly #maxArea: number;
  /** One image at a time: the stage's memory does not grow with the requests. */
  readonly #turn = new Mutex();
  readonly #quantiser: Recorded<"decoded", "rgba">;

  constructor(
    gpu: Gpu,
    decoder: DecoderComponent,
    { maxBytes = defaultBytes }: DecodeStageOptions = {},
  ) {
    this.#gpu = gpu;
    this.#decoder = decoder;
    const { maxArea, bytesPerLatent = 0 } = decoder;
    this.#maxArea = bytesPerLatent ? Math.min(maxArea, maxBytes / bytesPerLatent) : maxArea;
    this.#quantiser = new Recorded(gpu, {
      label: "quantise",
      kept: 4,
      build: (rec, { decoded }) => ({ rgba: toRgba8(rec, { x: decoded, label: "rgba" }) }),
    });
    this.#scale = vaeScale(decoder.config);
  }

  /** Edge of the tiles for latents of this size; 0 if they are decoded whole. */
  tileEdge(height: number, width: number, maxTile = Infinity): number {
    if (height * width <= this.#maxArea && Math.max(height, width) <= maxTile) return 0;
    return Math.max(smallestTile, Math.min(maxTile, Math.floor(Math.sqrt(this.#maxArea))));
  }

  /**
   * Decodes one image.
   *
   * @param latents f32 [1, C, h, w], as the denoising leaves them
   */
  decode(latents: Tensor, { signal, maxTile }: DecodeOptions = {}): Promise<RgbImage> {
    return this.#turn.runExclusive(async () => {
      signal?.throwIfAborted();
      const [, , h, w] = latents.shape as [number, number, number, number];
      const shape = [1, h * this.#scale, w * this.#scale, 3];
      const edge = this.tileEdge(h, w, maxTile);
      const image = this.#gpu.createTensor(shape, "decoded", "arena");
      try {
        if (edge === 0) await this.#decoder.decode(latents, image);
        else this.#gpu.write(image, await this.#decodeTiles(latents, edge, signal));
        return await this.#quantise(image);
      } finally {
        this.#gpu.destroyTensor(image);
      }
    });
  }

  dispose(): void {
    this.#quantiser.dispose();
  }

  async #decodeTiles(latents: Tensor, edge: number, signal: AbortSignal | undefined) {
    const [, channels, h, w] = latents.shape as [number, number, number, number];
    const scale = this.#scale;
    const overlap = Math.max(1, Math.floor(edge * overlapFraction));
    const canvas = new TileCanvas(w * scale, h * scale, 3);
    for (const y of spans(h, edge, overlap)) {
      for (const x of spans(w, edge, overlap)) {
        signal?.throwIfAborted();
        const tile = this.#gpu.createTensor([1, channels, y.size, x.size], "tile", "arena");
        const shape = [1, y.size * scale, x.size * scale, 3];
        const pixels = this.#gpu.createTensor(shape, "tile/decoded", "arena");
        try {
          await this.#cut(latents, tile, x.start, y.start);
          await this.#decoder.decode(tile, pixels);
          const scaled = (span: typeof x) => ({
            start: span.start * scale,
            size: span.size * scale,
          });
          const values = await this.#gpu.readFloats(pixels);
          canvas.add(values, scaled(x), scaled(y), overlap * scale);
        } finally {
          this.#gpu.destroyTensor(tile, pixels);
        }
      }
    }
    return canvas.finish();
  }

  /** Copies a window of every channel plane, row by row. */
  async #cut(latents: Tensor, tile: Tensor, left: number, top: number): Promise<void> {
    const [, channels, height, width] = latents.shape as [number, number, number, number];
    const [, , rows, columns] = tile.shape as [number, number, number, number];
    await this.#gpu.submit("tile", (encoder) => {
      for (let c = 0; c < channels; c++) {
        for (let row = 0; row < rows; row++) {
          encoder.copyBufferToBuffer(
            latents.storage.buffer,
            latents.byteOffset + 4 * ((c * height + top + row) * width + left),
            tile.storage.buffer,
            tile.byteOffset + 4 * (c * rows + row) * columns,
            4 * columns,
          );
        }
      }
    });
  }

  async #quantise(image: Tensor): Promise<RgbImage> {
    const [, height, width] = image.shape as [number, number, number, number];
    const out = this.#gpu.createTensor([1, height, width], "rgba", "arena", "u32");
    try {
      await this.#quantiser.run({ decoded: image }, { rgba: out });
      const rgba = new Uint8Array(await this.#gpu.readBytes(out));
      const data = new Uint8Array(height * width * 3);
      for (let i = 0; i < height * width; i++) {
        data[3 * i] = rgba[4 * i]!;
        data[3 * i + 1] = rgba[4 * i + 1]!;
        data[3 * i + 2] = rgba[4 * i + 2]!;
      }
      return { width, height, data };
    } finally {
      this.#gpu.destroyTensor(out);
    }
  }
}
