/** Synthetic checkpoints: valid files of zeros or noise, the same however they are read. */
import assert from "node:assert/strict";
import { readTensor } from "../../src/weights/checkpoint.ts";
import { openCheckpoint } from "../../src/weights/layouts/mod.ts";
import { syntheticCheckpoint, type SyntheticOptions } from "../../src/weights/synthetic.ts";
import { source } from "./make.ts";

const tensors = [
  { key: "block.0.attn.to_q.weight", shape: [300, 256] },
  { key: "block.0.norm.weight", shape: [4096] },
  { key: "block.0.attn.to_q.bias", shape: [300] },
  { key: "pos_embed.proj.weight", shape: [512, 16, 2, 2] },
];

function open(options: Partial<SyntheticOptions> = {}) {
  const files = syntheticCheckpoint("model", tensors, {
    dtype: "f16",
    maxShardBytes: 1e9,
    ...options,
  });
  const whole = [...files].map(([path, file]) => [path, file.read(0, file.size)] as const);
  return { files, checkpoint: openCheckpoint(source(Object.fromEntries(whole)), "") };
}

async function valuesOf(key: string, options: Partial<SyntheticOptions>): Promise<number[]> {
  const checkpoint = await open(options).checkpoint;
  const { buffer } = await readTensor(checkpoint, checkpoint.tensors.get(key)!);
  if (options.dtype === "f32") return [...new Float32Array(buffer)];
  if (options.dtype !== "bf16") return [...new Float16Array(buffer)];
  const bits = Uint32Array.from(new Uint16Array(buffer), (half) => half << 16);
  return [...new Float32Array(bits.buffer)];
}

function moments(values: readonly number[]) {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
  return { mean, deviation: Math.sqrt(variance) };
}

Deno.test("a synthetic checkpoint of zeros is its header and a hole", async () => {
  const { files, checkpoint } = open();
  const { tensors: found } = await checkpoint;
  assert.deepEqual([...found].map(([key, { shape }]) => ({ key, shape: [...shape] })), tensors);
  const file = files.get("model.safetensors")!;
  const whole = file.read(0, file.size);
  assert.deepEqual(whole.subarray(0, file.head!.length), file.head);
  assert.ok(whole.subarray(file.head!.length).every((byte) => byte === 0));
  assert.equal(file.head!.length % 8, 0);
});

Deno.test("tensors beyond a file's share become shards with an index", async () => {
  const { files, checkpoint } = open({ maxShardBytes: 170_000 });
  assert.deepEqual([...files.keys()], [
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
  ]);
  assert.equal((await checkpoint).tensors.size, tensors.length);
});

for (const dtype of ["f16", "bf16", "f32"] as const) {
  Deno.test(`${dtype} noise keeps activations finite: deviations by what a tensor is`, async () => {
    const near = async (key: string, mean: number, deviation: number) => {
      const found = moments(await valuesOf(key, { dtype, seed: 1 }));
      assert.ok(Math.abs(found.mean - mean) < deviation / 10, `${key}: mean ${found.mean}`);
      assert.ok(
        Math.abs(found.deviation / deviation - 1) < 0.1,
        `${key}: deviation ${found.deviation}`,
      );
    };
    await near("block.0.attn.to_q.weight", 0, 0.5 / 16);
    await near("block.0.norm.weight", 1, 0.02);
    await near("pos_embed.proj.weight", 0, 0.5 / 8);
  });
}

Deno.test("noise is its seed's, whatever pieces it is read in", () => {
  const file = open({ seed: 3 }).files.get("model.safetensors")!;
  const whole = file.read(0, file.size);
  const pieces = new Uint8Array(file.size);
  for (let at = 0; at < file.size; at += 997) {
    pieces.set(file.read(at, Math.min(at + 997, file.size)), at);
  }
  assert.deepEqual(pieces, whole);
  const other = open({ seed: 4 }).files.get("model.safetensors")!;
  assert.notDeepEqual(other.read(0, other.size), whole);
});
