/** Cutting an image into overlapping tiles and joining them with linear seams. Plain arithmetic. */

/** A tile along one axis: `size` cells from `start`. */
export interface Span {
  readonly start: number;
  readonly size: number;
}

/**
 * Tiles of `size` cells that cover `length`, neighbours sharing at least `overlap` cells; evenly
 * spread, so that no tile is a sliver. One tile if `length` fits.
 */
export function spans(length: number, size: number, overlap: number): Span[] {
  if (length <= size) return [{ start: 0, size: length }];
  const count = Math.ceil((length - overlap) / (size - overlap));
  return Array.from({ length: count }, (_, i) => ({
    start: Math.round(i * (length - size) / (count - 1)),
    size,
  }));
}

/**
 * Weight of each cell of a tile along one axis: 1 inside, falling linearly to its ends where a
 * neighbour takes over.
 */
export function ramp({ start, size }: Span, length: number, overlap: number): Float32Array {
  const weights = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const left = start === 0 ? 1 : (i + 0.5) / overlap;
    const right = start + size === length ? 1 : (size - i - 0.5) / overlap;
    weights[i] = Math.min(1, left, right);
  }
  return weights;
}

/** Joins tiles of an image with `channels` interleaved values a pixel. */
export class TileCanvas {
  readonly #sum: Float32Array<ArrayBuffer>;
  readonly #weight: Float32Array;

  constructor(readonly width: number, readonly height: number, readonly channels: number) {
    this.#sum = new Float32Array(width * height * channels);
    this.#weight = new Float32Array(width * height);
  }

  add(tile: Float32Array, x: Span, y: Span, overlap: number): void {
    const columns = ramp(x, this.width, overlap);
    const rows = ramp(y, this.height, overlap);
    for (let j = 0; j < y.size; j++) {
      for (let i = 0; i < x.size; i++) {
        const weight = rows[j]! * columns[i]!;
        const to = (y.start + j) * this.width + x.start + i;
        const from = j * x.size + i;
        this.#weight[to]! += weight;
        for (let c = 0; c < this.channels; c++) {
          this.#sum[to * this.channels + c]! += weight * tile[from * this.channels + c]!;
        }
      }
    }
  }

  /** The joined image; every cell must lie in some tile. */
  finish(): Float32Array<ArrayBuffer> {
    for (let i = 0; i < this.#sum.length; i++) {
      this.#sum[i]! /= this.#weight[Math.floor(i / this.channels)]!;
    }
    return this.#sum;
  }
}
