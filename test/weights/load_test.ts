/** From files to the GPU: what does not fit is refused at once, what streams stays small. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { type Checkpoint, readTensor } from "../../src/weights/checkpoint.ts";
import { directorySource } from "../../src/weights/deno_source.ts";
import { WeightsError } from "../../src/weights/errors.ts";
import { openCheckpoint } from "../../src/weights/layouts/mod.ts";
import type { WeightGpu } from "../../src/weights/parts.ts";
import { DeclaredWeights } from "../../src/weights/declared.ts";
import { gpu } from "../gpu.ts";
import { buffers, limited, stored, values } from "./device.ts";
import { checkpointOf } from "./make.ts";

/** A checkpoint of any size made of zeros that watches what is held of it. */
function endless(name: string, shape: number[]) {
  const size = shape.reduce((product, extent) => product * extent, 2);
  const seen = { largest: 0, total: 0, reads: 0 };
  const checkpoint: Checkpoint = {
    name: "endless",
    tensors: new Map([[name, {
      type: "F16",
      shape,
      ranges: [{ file: "f", start: 0, end: size }],
    }]]),
    readRange: ({ start, end }) => {
      seen.largest = Math.max(seen.largest, end - start);
      seen.total += end - start;
      seen.reads++;
      return Promise.resolve(new Uint8Array(end - start));
    },
  };
  return { checkpoint, size, seen };
}

Deno.test("what cannot be split under the limit is named before anything is allocated", async () => {
  const checkpoint = await checkpointOf([
    stored("wide", "F16", [65, 64], 0),
    stored("bias", "F16", [3000], 0),
  ]);
  const declared = new DeclaredWeights("net");
  declared.matrix("wide", [65, 64]);
  declared.vector("bias", 3000);
  const small = limited(4096);
  await assert.rejects(declared.load(checkpoint, small), (error) => {
    assert.ok(error instanceof WeightsError);
    assert.equal(error.problems.tooLarge?.length, 2);
    return true;
  });
  assert.equal(small.created, 0);
});

Deno.test("everything that does not fit the plan is in one error, before anything is allocated", async () => {
  const checkpoint = await checkpointOf([
    stored("a", "F16", [2, 3]),
    { name: "b", dtype: "I32", shape: [4] },
    stored("c.extra", "F16", [1]),
    stored("c.ignored", "F16", [1]),
    stored("patch", "F16", [2, 3, 2, 2]),
  ]);
  const declared = new DeclaredWeights("net");
  declared.matrix("a", [3, 2]);
  declared.concat([{ key: "b", rows: 4 }, { key: "gone", rows: 4 }]);
  declared.matrix("patch", [2, 12], { storedShapes: [[2, 3, 2, 2]] });
  declared.ignore(/ignored$/g);
  const device = limited(2 ** 20);
  await assert.rejects(declared.load(checkpoint, device), (error) => {
    assert.ok(error instanceof WeightsError);
    assert.deepEqual(error.problems, {
      misshapen: ["net: a is [2,3], wanted [3,2]"],
      wrongType: ["net: b is I32, wanted F64, F32, F16, BF16, F8_E4M3, F8_E5M2, Q8_0, Q4_0"],
      missing: ["net: gone [4]"],
      extra: ["net: c.extra [1]"],
    });
    return true;
  });
  assert.equal(device.created, 0);
  assert.throws(() => declared.vector("a", 3), /declared twice/);
});

Deno.test("host memory: reads of 16 MiB, at most 64 MiB and a piece written between two waits", async () => {
  const { checkpoint, size, seen } = endless("w", [100_000, 2048]);
  const declared = new DeclaredWeights("net");
  declared.matrix("w", [100_000, 2048]);
  let pending = 0;
  let mostPending = 0;
  let written = 0;
  // Nothing is allocated or written for real: the bytes are only counted.
  const fake: WeightGpu = {
    ...limited(2 ** 30),
    createBuffer: () => ({}) as GPUBuffer,
    destroyBuffer: () => {},
    queue: {
      writeBuffer(_buffer: unknown, _offset: number, data: ArrayBufferView) {
        pending += data.byteLength;
        written += data.byteLength;
        mostPending = Math.max(mostPending, pending);
      },
      submit: () => {},
    } as unknown as GPUQueue,
    idle: () => {
      pending = 0;
      return Promise.resolve();
    },
  };
  await declared.load(checkpoint, fake);
  const MiB = 2 ** 20;
  assert.deepEqual([seen.total, written, pending], [size, size, 0]);
  assert.ok(seen.largest <= 16 * MiB, `${seen.largest}`);
  assert.ok(mostPending < 80 * MiB, `${mostPending}`);
});

Deno.test("neighbouring small tensors are read together", async () => {
  const { checkpoint, seen } = endless("t0", [1000]);
  const tensors = new Map(
    Array.from({ length: 100 }, (_, i) => [
      `t${i}`,
      {
        type: "F16",
        shape: [1000],
        ranges: [{ file: "f", start: i * 2000, end: i * 2000 + 2000 }],
      } as const,
    ]),
  );
  const declared = new DeclaredWeights("net");
  for (const key of tensors.keys()) declared.vector(key, 1000);
  await declared.load({ ...checkpoint, tensors }, buffers);
  assert.deepEqual([seen.reads, seen.total], [1, 200_000]);
  declared.dispose();
});

Deno.test("an abort or a failing read midway frees everything, and the plan loads again", async () => {
  const { checkpoint } = endless("w", [20_000, 2048]);
  const declared = new DeclaredWeights("net");
  declared.matrix("w", [20_000, 2048]);
  const before = gpu.ledger.bytes("weights");
  const controller = new AbortController();
  await assert.rejects(
    declared.load(checkpoint, buffers, {
      signal: controller.signal,
      onProgress: (done) => done > 0 && controller.abort(new Error("enough")),
    }),
    /enough/,
  );
  assert.equal(gpu.ledger.bytes("weights"), before);
  await assert.rejects(declared.load(checkpoint, buffers, { signal: controller.signal }), /enough/);
  let reads = 0;
  const failing: Checkpoint = {
    ...checkpoint,
    readRange: (range) =>
      ++reads > 2 ? Promise.reject(new Error("the disk is gone")) : checkpoint.readRange(range),
  };
  await assert.rejects(declared.load(failing, buffers), /the disk is gone/);
  assert.equal(gpu.ledger.bytes("weights"), before);
  await declared.load(checkpoint, buffers);
  assert.equal(gpu.ledger.bytes("weights") - before, 20_000 * 2048 * 2);
  assert.equal(declared.gpuBytes(checkpoint), 20_000 * 2048 * 2);
  await assert.rejects(declared.load(checkpoint, buffers), /loaded already/);
  declared.dispose();
});

Deno.test("the fixture's text encoder loads and its numbers are those of the file", async () => {
  const files = directorySource(
    fileURLToPath(new URL("../../fixtures/sd35-tiny", import.meta.url)),
  );
  const checkpoint = await openCheckpoint(files, "text_encoder_3");
  const declared = new DeclaredWeights("t5");
  const attention = "encoder.block.0.layer.0.SelfAttention";
  const keys = ["q", "k", "v"].map((name) => `${attention}.${name}.weight`);
  const qkv = declared.stack(keys.map((key) => ({ key, rows: 384 })), 384);
  const bias = declared.table(`${attention}.relative_attention_bias.weight`, [32, 6]);
  declared.ignore(/./);
  await declared.load(checkpoint, buffers);
  const rows = await values(qkv.tensor);
  for (const [i, key] of keys.entries()) {
    const bytes = await readTensor(checkpoint, checkpoint.tensors.get(key)!);
    const size = 384 * 384;
    assert.deepEqual(rows.slice(i * size, (i + 1) * size), [...new Float16Array(bytes.buffer)]);
  }
  assert.deepEqual(bias.tensor.shape, [32, 6]);
  declared.dispose();
  files.close();
});
