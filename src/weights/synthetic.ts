/**
 * Checkpoints that nobody trained: safetensors files with real headers whose data is zeros, or seeded
 * noise of the size that trained weights have. Files are made as they are read: a model of any size
 * costs no memory, and zeros cost no disk where a file may have holes.
 */
import { elements } from "../gpu/tensor.ts";
import { byteLength } from "./element_types.ts";

/** Types that checkpoints of the family are published in. */
export const syntheticTypes = ["f16", "bf16", "f32"] as const;
export type SyntheticType = typeof syntheticTypes[number];

/** A tensor as a checkpoint names and shapes it. */
export interface DeclaredTensor {
  readonly key: string;
  readonly shape: readonly number[];
}

export interface SyntheticOptions {
  readonly dtype: SyntheticType;
  /** Bytes of one file's tensors; more become shards with an index. */
  readonly maxShardBytes: number;
  /** Seed of the noise; zeros without one. */
  readonly seed?: number | undefined;
}

/** A file that exists as far as it is read. */
export interface SyntheticFile {
  readonly size: number;
  /** What stands before a hole of zeros that reaches to the end; absent where there is none. */
  readonly head?: Uint8Array<ArrayBuffer>;
  /** Bytes `start` to `end` (exclusive). */
  read(start: number, end: number): Uint8Array<ArrayBuffer>;
}

/** How diffusers and transformers name the files of one checkpoint: `stem`, or shards of it. */
export function syntheticCheckpoint(
  stem: string,
  tensors: readonly DeclaredTensor[],
  options: SyntheticOptions,
): Map<string, SyntheticFile> {
  const elementBytes = byteLength(storedType(options.dtype), 1);
  const bytes = (tensor: DeclaredTensor) => elements(tensor.shape) * elementBytes;
  const shards: DeclaredTensor[][] = [[]];
  let room = options.maxShardBytes;
  for (const tensor of tensors) {
    room -= bytes(tensor);
    if (room < 0 && shards.at(-1)!.length > 0) {
      shards.push([]);
      room = options.maxShardBytes - bytes(tensor);
    }
    shards.at(-1)!.push(tensor);
  }
  if (shards.length === 1) {
    return new Map([[`${stem}.safetensors`, safetensorsFile(tensors, options)]]);
  }
  const pad = (n: number) => `${n}`.padStart(5, "0");
  const name = (k: number) => `${stem}-${pad(k + 1)}-of-${pad(shards.length)}.safetensors`;
  const index = {
    metadata: { total_size: tensors.reduce((sum, tensor) => sum + bytes(tensor), 0) },
    weight_map: Object.fromEntries(
      shards.flatMap((shard, k) => shard.map(({ key }) => [key, name(k)])).sort(),
    ),
  };
  return new Map([
    ...shards.map((shard, k) => [name(k), safetensorsFile(shard, options)] as const),
    [`${stem}.safetensors.index.json`, textFile(JSON.stringify(index, null, 2) + "\n")],
  ]);
}

/** A file that holds just this text. */
export function textFile(text: string): SyntheticFile {
  const bytes = new TextEncoder().encode(text);
  return { size: bytes.length, read: (start, end) => bytes.slice(start, end) };
}

function safetensorsFile(
  tensors: readonly DeclaredTensor[],
  { dtype, seed }: SyntheticOptions,
): SyntheticFile {
  const type = storedType(dtype);
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  const ends: number[] = [];
  let at = 0;
  for (const { key, shape } of tensors) {
    const end = at + byteLength(type, elements(shape));
    header[key] = { dtype: type, shape, data_offsets: [at, end] };
    ends.push(at = end);
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  // The reference writer pads with spaces, so that tensors begin at multiples of 8.
  const head = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(head.length - 8), true);
  head.set(json, 8);
  const size = head.length + at;
  const withHead = (start: number, end: number, fill?: (bytes: Uint8Array, at: number) => void) => {
    const bytes = new Uint8Array(end - start);
    bytes.set(head.subarray(start, Math.min(end, head.length)));
    const begin = Math.max(start, head.length);
    if (begin < end) fill?.(bytes.subarray(begin - start), begin - head.length);
    return bytes;
  };
  if (seed === undefined) return { size, head, read: (start, end) => withHead(start, end) };
  const noise = new Noise(dtype, seed);
  return {
    size,
    read: (start, end) =>
      withHead(start, end, (bytes, from) => {
        let first = 0;
        for (const [i, tensor] of tensors.entries()) {
          const begin = Math.max(from, first);
          const until = Math.min(from + bytes.length, ends[i]!);
          if (begin < until) {
            noise.fill(bytes.subarray(begin - from, until - from), tensor, begin - first);
          }
          first = ends[i]!;
        }
      }),
  };
}

/** Values after which noise repeats: odd and prime, so that the rows of a matrix differ. */
const period = 1_048_573;

const norms = /norm.*\.weight$/;
/** Their rows are looked up, not summed over. */
const tables =
  /(^|\.)pos_embed$|_embedding\.weight$|^shared\.weight$|relative_attention_bias\.weight$/;

/**
 * Normal values, scaled to keep activations finite: matrices by the square root of what they sum
 * over, and halved, as residual streams add up; norms near one, biases and tables small.
 */
class Noise {
  readonly #dtype: SyntheticType;
  readonly #normal: Float32Array<ArrayBuffer>;
  /** Bytes of one period, by mean and deviation. */
  readonly #tables = new Map<string, Uint8Array<ArrayBuffer>>();

  constructor(dtype: SyntheticType, seed: number) {
    this.#dtype = dtype;
    this.#normal = normal(seed);
  }

  /** Bytes of `tensor` from its byte `from` on. */
  fill(bytes: Uint8Array, { key, shape }: DeclaredTensor, from: number): void {
    const fanIn = elements(shape.slice(1));
    const mean = shape.length === 1 && norms.test(key) ? 1 : 0;
    const deviation = shape.length === 1 || tables.test(key) ? 0.02 : 0.5 / Math.sqrt(fanIn);
    const table = this.#table(mean, deviation);
    // Each tensor begins elsewhere in the period.
    const width = byteLength(storedType(this.#dtype), 1);
    const offset = from + width * hash(key) % table.length;
    for (let at = 0; at < bytes.length;) {
      const begin = (offset + at) % table.length;
      const piece = table.subarray(begin, begin + bytes.length - at);
      bytes.set(piece, at);
      at += piece.length;
    }
  }

  #table(mean: number, deviation: number): Uint8Array<ArrayBuffer> {
    const known = this.#tables.get(`${mean} ${deviation}`);
    if (known) return known;
    const values = this.#normal.map((x) => mean + deviation * x);
    const stored = this.#dtype === "f16"
      ? Float16Array.from(values)
      : this.#dtype === "f32"
      ? values
      : Uint16Array.from(new Uint32Array(values.buffer), (bits) => (bits + 0x8000) >>> 16);
    const bytes = new Uint8Array(stored.buffer);
    this.#tables.set(`${mean} ${deviation}`, bytes);
    return bytes;
  }
}

/** One period of normal values (Box and Muller's) out of a 32-bit counter that is mixed. */
function normal(seed: number): Float32Array<ArrayBuffer> {
  const values = new Float32Array(period);
  const uniform = (i: number) => (mix(i + mix(seed)) + 0.5) / 2 ** 32;
  for (let i = 0; i < period; i++) {
    values[i] = Math.sqrt(-2 * Math.log(uniform(2 * i))) *
      Math.cos(2 * Math.PI * uniform(2 * i + 1));
  }
  return values;
}

/** The finaliser of MurmurHash3: every bit of the result depends on every bit of `x`. */
function mix(x: number): number {
  let h = x >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function hash(text: string): number {
  return [...text].reduce((h, letter) => mix(h ^ letter.codePointAt(0)!), 0);
}

function storedType(dtype: SyntheticType): "F16" | "BF16" | "F32" {
  return dtype.toUpperCase() as "F16" | "BF16" | "F32";
}
