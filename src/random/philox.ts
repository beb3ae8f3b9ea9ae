/**
 * `torch.randn` on a CUDA device (Philox 4x32-10), without the device.
 *
 * torch's numbers depend on the GPU: a kernel of `capacity` threads draws value i in thread
 * i mod capacity, as component floor(i / capacity) of that thread's four. `capacity` is the number
 * of multiprocessors times their resident threads, capped by n rounded up to 256. With an infinite
 * capacity every value is a component 0: that is what AUTOMATIC1111's `rng_philox.py` makes.
 * Source: PyTorch `aten/src/ATen/native/cuda/DistributionTemplates.h`.
 */

const blockThreads = 256;

export interface PhiloxOptions {
  /** Threads that are resident at once: multiprocessors x threads each. Absent: unlimited. */
  readonly capacity?: number | undefined;
}

export class PhiloxGenerator {
  /** As given, modulo 2^64. */
  readonly seed: bigint;
  readonly #capacity: number;
  /** In draws of four, torch's `philox_offset / 4`. */
  #offset = 0;

  /** @throws {RangeError} if `seed` is not an integer or `capacity` no multiple of 256 */
  constructor(seed: number | bigint, { capacity = Infinity }: PhiloxOptions = {}) {
    if (typeof seed === "number" && !Number.isSafeInteger(seed)) {
      throw new RangeError(`seed must be an integer of at most 2^53 - 1, not ${seed}`);
    }
    if (!(capacity >= blockThreads) || (capacity < Infinity && capacity % blockThreads !== 0)) {
      throw new RangeError(`capacity must be a multiple of ${blockThreads}, not ${capacity}`);
    }
    this.seed = BigInt.asUintN(64, BigInt(seed));
    this.#capacity = capacity;
  }

  /**
   * `n` standard normal values.
   *
   * @throws {RangeError} unless `n` is a whole number
   */
  randn(n: number): Float32Array<ArrayBuffer> {
    if (!Number.isSafeInteger(n) || n < 0) {
      throw new RangeError(`The number of values must be a whole number, not ${n}`);
    }
    const values = new Float32Array(n);
    const rounded = Math.ceil(n / blockThreads) * blockThreads;
    const threads = Math.min(this.#capacity, rounded);
    for (let i = 0; i < n; i++) {
      const round = Math.floor(i / (threads * 4));
      const component = Math.floor(i / threads) % 4;
      values[i] = this.#normal(i % threads, this.#offset + round, component);
    }
    if (n > 0) this.#offset += Math.floor((n - 1) / (threads * 4)) + 1;
    return values;
  }

  clone(): PhiloxGenerator {
    const copy = new PhiloxGenerator(this.seed, { capacity: this.#capacity });
    copy.#offset = this.#offset;
    return copy;
  }

  #normal(thread: number, offset: number, component: number): number {
    const words = philox(
      [offset >>> 0, Math.floor(offset / 2 ** 32), thread >>> 0, Math.floor(thread / 2 ** 32)],
      [Number(this.seed & 0xffffffffn), Number(this.seed >> 32n)],
    );
    const pair = component < 2 ? 0 : 2;
    const u = words[pair]! * 2 ** -32 + 2 ** -33;
    const v = (words[pair + 1]! * 2 ** -32 + 2 ** -33) * 2 * Math.PI;
    const radius = Math.sqrt(-2 * Math.log(u));
    return radius * (component % 2 === 0 ? Math.sin(v) : Math.cos(v));
  }
}

type FourWords = [number, number, number, number];

/** Ten rounds of Philox 4x32 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"). */
export function philox(counter: FourWords, key: [number, number]): FourWords {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = multiply(0xd2511f53, c0);
    const [high1, low1] = multiply(0xcd9e8d57, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** High and low word of a 32 x 32 bit product, by 16-bit halves. */
function multiply(a: number, b: number): [number, number] {
  const low = (a & 0xffff) * b;
  const high = (a >>> 16) * b + Math.floor(low / 0x10000);
  return [Math.floor(high / 0x10000) >>> 0, Math.imul(a, b) >>> 0];
}
