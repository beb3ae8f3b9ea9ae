/** One network with seeded random weights: the files of its folder, and the values they hold. */
import type { Weights } from "../reference/networks/layers.ts";
import { bytesOf, type MadeTensor, safetensors } from "../weights/make.ts";
import type { Shapes } from "./shapes.ts";

export interface StorageOptions {
  /** Default F32. */
  readonly dtype?: "F32" | "F16" | "BF16" | undefined;
  /** Files that the tensors are spread over, named by an index; 1: one file without index. */
  readonly shards?: number | undefined;
  /** File name without ending. */
  readonly stem?: "model" | "diffusion_pytorch_model" | undefined;
  readonly seed?: number | undefined;
}

export interface MadeNetwork {
  /** By file name inside the network's folder. */
  readonly files: Record<string, Uint8Array<ArrayBuffer> | string>;
  /** The values as stored: rounded to the type. */
  readonly weights: Weights;
}

export function makeNetwork(shapes: Shapes, options: StorageOptions = {}): MadeNetwork {
  const { dtype = "F32", shards = 1, stem = "model", seed = 1 } = options;
  const values = new Map<string, Float32Array>();
  const tensors: MadeTensor[] = [];
  for (const [name, shape] of shapes) {
    const bytes = encode(randomWeights(name, shape, seed), dtype);
    values.set(name, decode(bytes, dtype));
    tensors.push({ name, dtype, shape, bytes });
  }
  const weights = (key: string) => {
    const found = values.get(key);
    if (!found) throw new Error(`The made network has no ${key}`);
    return found;
  };
  if (shards === 1) return { files: { [`${stem}.safetensors`]: safetensors(tensors) }, weights };
  const files: MadeNetwork["files"] = {};
  const map: Record<string, string> = {};
  for (let shard = 0; shard < shards; shard++) {
    const number = (n: number) => String(n).padStart(5, "0");
    const file = `${stem}-${number(shard + 1)}-of-${number(shards)}.safetensors`;
    // Dealt out like cards: neighbouring tensors lie in different files.
    const mine = tensors.filter((_, i) => i % shards === shard);
    files[file] = safetensors(mine);
    for (const { name } of mine) map[name] = file;
  }
  files[`${stem}.safetensors.index.json`] = JSON.stringify({ metadata: {}, weight_map: map });
  return { files, weights };
}

/** Uniform, and scaled by what a tensor is for, so that activations keep a size near one. */
function randomWeights(name: string, shape: readonly number[], seed: number): Float32Array {
  const next = generator(`${seed} ${name}`);
  const count = shape.reduce((product, extent) => product * extent, 1);
  const inputs = shape.slice(1).reduce((product, extent) => product * extent, 1);
  const isTable = /embedding\.weight|shared\.weight|pos_embed\.pos_embed|attention_bias/.test(name);
  // T5 does not divide its scores by the head's width.
  const gain = /SelfAttention\.q\.weight/.test(name) ? 0.25 : 1;
  const scale = name.endsWith(".bias")
    ? 0.2
    : isTable
    ? 1
    : shape.length === 1
    ? 0.3
    : gain * Math.sqrt(3 / inputs);
  const centre = shape.length === 1 && name.endsWith(".weight") ? 1 : 0;
  return Float32Array.from({ length: count }, () => centre + scale * (2 * next() - 1));
}

/** mulberry32 from a text, in [0, 1). */
function generator(text: string): () => number {
  let state = 2166136261;
  for (const character of text) {
    state = Math.imul(state ^ character.codePointAt(0)!, 16777619);
  }
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function encode(values: Float32Array, dtype: "F32" | "F16" | "BF16"): Uint8Array<ArrayBuffer> {
  if (dtype === "F32") return bytesOf(Float32Array.from(values));
  if (dtype === "F16") return bytesOf(Float16Array.from(values));
  // bfloat16 is the upper half of a float32, rounded to nearest even.
  const bits = new Uint32Array(Float32Array.from(values).buffer);
  return bytesOf(Uint16Array.from(bits, (b) => (b + 0x7fff + ((b >>> 16) & 1)) >>> 16));
}

function decode(bytes: Uint8Array<ArrayBuffer>, dtype: "F32" | "F16" | "BF16"): Float32Array {
  if (dtype === "F32") return new Float32Array(bytes.buffer);
  if (dtype === "F16") return Float32Array.from(new Float16Array(bytes.buffer));
  const bits = Uint32Array.from(new Uint16Array(bytes.buffer), (half) => half << 16);
  return new Float32Array(bits.buffer);
}
