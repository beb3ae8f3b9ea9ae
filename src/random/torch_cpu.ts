/**
 * `torch.randn` on the CPU for float32, from `torch.Generator().manual_seed(seed)`: MT19937 and
 * Box-Muller in the order of PyTorch's `aten/src/ATen/native/cpu/DistributionTemplates.h`.
 *
 * Logarithm and sine are taken in double here and rounded; torch's vector routines differ from that
 * by up to 1.5e-6, so values agree to 2e-6.
 */

const stateWords = 624;
const shiftWords = 397;
/** From this many values on, torch fills whole blocks (`normal_fill`). */
const block = 16;

export class TorchCpuGenerator {
  /** As given, modulo 2^64; torch's engine uses the low 32 bits. */
  readonly seed: bigint;
  #state = new Uint32Array(stateWords);
  #position = stateWords;
  /** The second value of the last pair that `randn` drew singly. */
  #nextNormal: number | undefined;

  /**
   * @param seed any integer
   * @throws {RangeError} if it is a number and not a safe one
   */
  constructor(seed: number | bigint) {
    if (typeof seed === "number" && !Number.isSafeInteger(seed)) {
      throw new RangeError(`seed must be an integer of at most 2^53 - 1, not ${seed}`);
    }
    this.seed = BigInt.asUintN(64, BigInt(seed));
    const state = this.#state;
    state[0] = Number(this.seed & 0xffffffffn);
    for (let j = 1; j < stateWords; j++) {
      const previous = state[j - 1]!;
      state[j] = Math.imul(1812433253, previous ^ (previous >>> 30)) + j;
    }
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
    if (n < block) {
      for (let i = 0; i < n; i++) values[i] = this.#normal();
      return values;
    }
    for (let i = 0; i < n; i++) values[i] = this.#uniform();
    for (let i = 0; i + block <= n; i += block) transformBlock(values, i);
    if (n % block !== 0) {
      // The last 16 places are drawn anew and overlap the block before them.
      for (let i = n - block; i < n; i++) values[i] = this.#uniform();
      transformBlock(values, n - block);
    }
    return values;
  }

  /** A generator that goes on from the same place, independently. */
  clone(): TorchCpuGenerator {
    const copy = new TorchCpuGenerator(this.seed);
    copy.#state = this.#state.slice();
    copy.#position = this.#position;
    copy.#nextNormal = this.#nextNormal;
    return copy;
  }

  /** One draw of the slow path: pairs of doubles, the second value kept for the next call. */
  #normal(): number {
    if (this.#nextNormal !== undefined) {
      const value = this.#nextNormal;
      this.#nextNormal = undefined;
      return value;
    }
    const angle = 2 * Math.PI * this.#uniformDouble();
    const radius = Math.sqrt(-2 * Math.log1p(-this.#uniformDouble()));
    this.#nextNormal = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** [0, 1) with 24 bits. */
  #uniform(): number {
    return (this.#random() & 0xffffff) / 2 ** 24;
  }

  /** [0, 1) with 53 bits; the first draw is the high word. */
  #uniformDouble(): number {
    const high = this.#random() & 0x1fffff;
    return (high * 2 ** 32 + this.#random()) / 2 ** 53;
  }

  /** The next 32 bits of MT19937. */
  #random(): number {
    if (this.#position === stateWords) this.#twist();
    let y = this.#state[this.#position++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  #twist(): void {
    const state = this.#state;
    for (let j = 0; j < stateWords; j++) {
      const y = (state[j]! & 0x80000000) | (state[(j + 1) % stateWords]! & 0x7fffffff);
      state[j] = state[(j + shiftWords) % stateWords]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.#position = 0;
  }
}

/** Box-Muller within 16 uniforms: place j gives the radius, place j + 8 the angle. */
function transformBlock(values: Float32Array, start: number): void {
  for (let j = start; j < start + block / 2; j++) {
    const radius = Math.sqrt(-2 * Math.log(1 - values[j]!));
    const angle = 2 * Math.PI * values[j + block / 2]!;
    values[j] = radius * Math.cos(angle);
    values[j + block / 2] = radius * Math.sin(angle);
  }
}
