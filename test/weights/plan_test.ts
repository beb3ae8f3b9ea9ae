import assert from "node:assert/strict";
import type { Tensor } from "../../src/gpu/tensor.ts";
import type { WeightTexture } from "../../src/gpu/texture.ts";
import type { Checkpoint } from "../../src/weights/checkpoint.ts";
import { openCheckpoint } from "../../src/weights/checkpoint.ts";
import { directorySource } from "../../src/weights/deno_source.ts";
import { WeightsError } from "../../src/weights/errors.ts";
import { rowStride } from "../../src/gpu/tensor.ts";
import type { WeightGpu } from "../../src/weights/parts.ts";
import { WeightPlan } from "../../src/weights/plan.ts";
import type { StoredType } from "../../src/weights/safetensors.ts";
import { gpu } from "../gpu.ts";
import { bytesOf, checkpointOf, type MadeTensor } from "./make.ts";

/** Values that every type here holds exactly: eighths from -8 to 8. */
const value = (i: number) => ((i * 37) % 129 - 64) / 8;

function stored(name: string, dtype: StoredType, shape: number[], first = 0): MadeTensor {
  const count = shape.reduce((product, extent) => product * extent, 1);
  const values = Float64Array.from({ length: count }, (_, i) => value(first + i));
  const bytes = dtype === "F64"
    ? bytesOf(values)
    : dtype === "F32"
    ? bytesOf(Float32Array.from(values))
    : dtype === "F16"
    ? bytesOf(Float16Array.from(values))
    : bytesOf(
      Uint16Array.from(
        new Uint32Array(Float32Array.from(values).buffer),
        (bits) => bits >>> 16,
      ),
    );
  return { name, dtype, shape, bytes };
}

async function values(tensor: Tensor): Promise<number[]> {
  const bytes = await gpu.readBytes(tensor);
  return [...(tensor.dtype === "f16" ? new Float16Array(bytes) : new Float32Array(bytes))];
}

/** The device, with everything in buffers. */
const buffers = limited(gpu.limits.maxStorageBufferBindingSize);

/** Halves of texels, as they lie in a texture: for each texel row, 8 of every column. */
async function texels(
  { texture }: WeightTexture,
  columns: number,
  lines: number,
): Promise<Float16Array> {
  // Copies want rows of 256 bytes.
  const bytesPerRow = Math.ceil(16 * columns / 256) * 256;
  const staging = gpu.createTensor([bytesPerRow * lines / 4], "texels", "other");
  await gpu.submit("texels", (encoder) =>
    encoder.copyTextureToBuffer(
      { texture },
      { buffer: staging.storage.buffer, bytesPerRow },
      [columns, lines],
    ));
  const padded = new Float16Array(await gpu.readBytes(staging));
  gpu.destroyTensor(staging);
  const width = 8 * columns;
  const dense = new Float16Array(width * lines);
  for (let y = 0; y < lines; y++) {
    dense.set(padded.subarray(y * bytesPerRow / 2, y * bytesPerRow / 2 + width), y * width);
  }
  return dense;
}

/** The device under smaller limits, with a count of what is created. */
function limited(maxStorageBufferBindingSize: number): WeightGpu & { created: number } {
  return {
    created: 0,
    limits: { ...{ maxBufferSize: 2 ** 30 }, maxStorageBufferBindingSize } as GPUSupportedLimits,
    prefersTextures: false,
    queue: gpu.queue,
    createBuffer(request) {
      this.created++;
      return gpu.createBuffer(request);
    },
    destroyBuffer: (buffer) => gpu.destroyBuffer(buffer),
    createTexture: (request) => gpu.createTexture(request),
    destroyTexture: (texture) => gpu.destroyTexture(texture),
    scope: (label, work) => gpu.scope(label, work),
    idle: () => gpu.idle(),
  };
}

for (
  const [dtype, weightType, expected] of [
    ["F16", "auto", "f16"],
    ["BF16", "auto", "f16"],
    ["F32", "auto", "f32"],
    ["F64", "auto", "f32"],
    ["F16", "f32", "f32"],
    ["BF16", "f32", "f32"],
  ] as const
) {
  Deno.test(`${dtype} loads as ${expected} (${weightType}): concat, padding, conv, table`, async () => {
    const checkpoint = await checkpointOf([
      stored("q", dtype, [3, 10], 0),
      stored("bias", dtype, [5], 7),
      stored("k", dtype, [3, 10], 30),
      stored("conv", dtype, [2, 3, 2, 2], 9),
      stored("table", dtype, [1, 3, 5], 3),
      stored("bias2", dtype, [5], 12),
      { name: "x.position_ids", dtype: "I64", shape: [4] },
    ]);
    const plan = new WeightPlan("net");
    const matrix = plan.matrix(["q", "k"], [3, 10]);
    const bias = plan.vector(["bias", "bias2"], 5);
    const conv = plan.conv("conv", [2, 3, 2, 2]);
    const table = plan.table("table", [1, 3, 5]);
    plan.ignore(/position_ids$/);
    assert.throws(() => matrix.tensor, /net\/q\+k is not loaded/);
    const before = gpu.ledger.bytes("weights");
    await plan.load(checkpoint, buffers, { weightType });

    assert.deepEqual(matrix.tensor.shape, [6, 10]);
    assert.equal(matrix.tensor.dtype, expected);
    assert.equal(rowStride(10), 16);
    const rows = await values(matrix.tensor);
    assert.deepEqual(
      rows,
      Array.from({ length: 6 * 16 }, (_, i) => i % 16 < 10 ? value((i >> 4) * 10 + i % 16) : 0),
    );

    assert.equal(bias.tensor.dtype, "f32");
    assert.deepEqual(bias.tensor.shape, [10]);
    assert.deepEqual(await values(bias.tensor), Array.from({ length: 10 }, (_, i) => value(7 + i)));

    assert.deepEqual(conv.tensor.shape, [2, 2, 2, 8]);
    const taps = await values(conv.tensor);
    for (let o = 0; o < 2; o++) {
      for (let tap = 0; tap < 4; tap++) {
        for (let i = 0; i < 8; i++) {
          const want = i < 3 ? value(9 + (o * 3 + i) * 4 + tap) : 0;
          assert.equal(taps[(o * 4 + tap) * 8 + i], want, `${o} ${tap} ${i}`);
        }
      }
    }

    assert.deepEqual(table.tensor.shape, [1, 3, 5]);
    assert.equal(table.tensor.dtype, expected);
    assert.deepEqual(
      (await values(table.tensor)).slice(0, 15),
      Array.from({ length: 15 }, (_, i) => value(3 + i)),
    );

    plan.dispose();
    assert.equal(gpu.ledger.bytes("weights"), before);
    assert.throws(() => matrix.tensor, /not loaded/);
  });
}

Deno.test("float8 loads as f16", async () => {
  const bytes = Uint8Array.of(0x38, 0xb8, 0x7e, 0x01);
  const checkpoint = await checkpointOf([{ name: "w", dtype: "F8_E4M3", shape: [2, 2], bytes }]);
  const plan = new WeightPlan("net");
  const w = plan.matrix("w", [2, 2]);
  await plan.load(checkpoint, buffers);
  assert.equal(w.tensor.dtype, "f16");
  const read = await values(w.tensor);
  assert.deepEqual([...read.slice(0, 2), ...read.slice(8, 10)], [1, -1, 448, 2 ** -9]);
  plan.dispose();
});

Deno.test("a bfloat16 matrix out of f16's range becomes f32, its neighbour stays f16", async () => {
  const wide = stored("wide", "BF16", [2, 8], 0);
  // 2^100.
  wide.bytes!.set([0x80, 0x71], 6);
  const checkpoint = await checkpointOf([
    stored("near", "BF16", [2, 8], 5),
    wide,
    stored("other", "BF16", [2, 8], 16),
  ]);
  const plan = new WeightPlan("net");
  const wideMatrix = plan.matrix(["wide", "other"], [2, 8]);
  const nearMatrix = plan.matrix("near", [2, 8]);
  const progress: number[] = [];
  await plan.load(checkpoint, buffers, {
    onProgress: (done, total) => progress.push(done / total),
  });
  assert.deepEqual([wideMatrix.tensor.dtype, nearMatrix.tensor.dtype], ["f32", "f16"]);
  const expected = Array.from({ length: 32 }, (_, i) => i === 3 ? 2 ** 100 : value(i));
  assert.deepEqual(await values(wideMatrix.tensor), expected);
  assert.deepEqual(
    await values(nearMatrix.tensor),
    Array.from({ length: 16 }, (_, i) => value(5 + i)),
  );
  assert.equal(progress[0], 0);
  assert.equal(progress.at(-1), 1);
  assert.deepEqual(progress, progress.toSorted((a, b) => a - b));
  plan.dispose();
});

Deno.test("where the device prefers it, f16 weights to multiply with lie transposed in textures", async () => {
  const checkpoint = await checkpointOf([
    stored("a", "F16", [70, 10], 0),
    stored("b", "F16", [70, 10], 700),
    stored("wide", "F32", [4, 8], 0),
    stored("conv", "F16", [128, 2, 3, 3], 5),
    stored("few", "F16", [15, 2, 3, 3], 5),
    stored("rows", "F16", [5, 8], 11),
  ]);
  const plan = new WeightPlan("net");
  const matrix = plan.matrix(["a", "b"], [70, 10]);
  const wide = plan.matrix("wide", [4, 8]);
  const conv = plan.conv("conv", [128, 2, 3, 3]);
  const few = plan.conv("few", [15, 2, 3, 3]);
  const rows = plan.matrix("rows", [5, 8], { lookup: true });
  const before = gpu.ledger.bytes("weights");
  const limits = { ...limited(2 ** 20).limits, maxTextureDimension2D: 130 } as GPUSupportedLimits;
  await plan.load(checkpoint, { ...limited(2 ** 20), limits, prefersTextures: true });

  assert.deepEqual(matrix.parts.map((p) => [p.rowStart, p.rows]), [[0, 128], [128, 12]]);
  for (const { texture, rowStart, rows } of matrix.parts) {
    assert.deepEqual([texture!.texture.width, texture!.texture.height], [
      rows === 128 ? 129 : 12,
      3,
    ]);
    const expected = Array.from({ length: rows * 16 }, (_, i) => {
      const k = Math.floor(i / 8 / rows) * 8 + i % 8;
      return k < 10 ? value((rowStart + Math.floor(i / 8) % rows) * 10 + k) : 0;
    });
    assert.deepEqual([...await texels(texture!, rows, 2)], expected);
  }
  const taps = await texels(conv.parts[0]!.texture!, 128, 9);
  const expected = Array.from({ length: 9 * 128 * 8 }, (_, i) => {
    const [tap, output, channel] = [Math.floor(i / 1024), Math.floor(i / 8) % 128, i % 8];
    return channel < 2 ? value(5 + output * 18 + channel * 9 + tap) : 0;
  });
  assert.deepEqual([...taps], expected);
  assert.equal(few.parts[0]!.texture, undefined);
  assert.equal(wide.parts[0]!.texture, undefined);
  assert.equal(rows.parts[0]!.texture, undefined);
  assert.throws(() => conv.tensor.storage.buffer, /lies in a texture/);
  assert.equal((await values(rows.tensor)).length, 40);

  const bytes = gpu.ledger.bytes("weights") - before;
  assert.ok(bytes >= plan.gpuBytes(checkpoint) && bytes <= plan.gpuBytes(checkpoint) + 8192);
  plan.dispose();
  assert.equal(gpu.ledger.bytes("weights"), before);
});

Deno.test("a matrix over the binding limit is split at multiples of 64 rows", async () => {
  // 100 rows each of 16 x 2 bytes; 5000 bytes hold 156 rows, so parts of 128.
  const checkpoint = await checkpointOf([
    stored("a", "F16", [100, 10], 0),
    stored("b", "F16", [100, 10], 1000),
    stored("small", "F16", [2, 8], 5),
    stored("table", "F16", [1, 200, 13], 11),
  ]);
  const plan = new WeightPlan("net");
  const big = plan.matrix(["a", "b"], [100, 10]);
  const small = plan.matrix("small", [2, 8]);
  const table = plan.table("table", [1, 200, 13]);
  await plan.load(checkpoint, limited(5000));
  assert.deepEqual(big.shape, [200, 10]);
  assert.deepEqual(big.parts.map(({ rowStart, rows }) => [rowStart, rows]), [[0, 128], [128, 72]]);
  assert.throws(() => big.tensor, /split into 2 parts/);
  assert.equal(small.parts.length, 1);
  for (const { tensor, rowStart, rows } of big.parts) {
    assert.deepEqual(tensor.shape, [rows, 10]);
    assert.ok(tensor.byteLength <= 5000);
    assert.deepEqual(
      await values(tensor),
      Array.from(
        { length: rows * 16 },
        (_, i) => i % 16 < 10 ? value((rowStart + (i >> 4)) * 10 + i % 16) : 0,
      ),
    );
  }
  assert.deepEqual(table.parts.map(({ rowStart, rows }) => [rowStart, rows]), [[0, 128 + 64], [
    192,
    8,
  ]]);
  for (const { tensor, rowStart, rows } of table.parts) {
    assert.deepEqual(
      (await values(tensor)).slice(0, rows * 13),
      Array.from({ length: rows * 13 }, (_, i) => value(11 + rowStart * 13 + i)),
    );
  }
  plan.dispose();
});

Deno.test("what cannot be split under the limit is named before anything is allocated", async () => {
  const checkpoint = await checkpointOf([
    stored("wide", "F16", [65, 64], 0),
    stored("bias", "F16", [3000], 0),
  ]);
  const plan = new WeightPlan("net");
  plan.matrix("wide", [65, 64]);
  plan.vector("bias", 3000);
  const small = limited(4096);
  await assert.rejects(plan.load(checkpoint, small), (error) => {
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
  const plan = new WeightPlan("net");
  plan.matrix("a", [3, 2]);
  plan.vector(["b", "gone"], 4);
  plan.matrix("patch", [2, 12], { storedShapes: [[2, 3, 2, 2]] });
  plan.ignore(/ignored$/g);
  const device = limited(2 ** 20);
  await assert.rejects(plan.load(checkpoint, device), (error) => {
    assert.ok(error instanceof WeightsError);
    assert.deepEqual(error.problems, {
      misshapen: ["net: a is [2,3], expected [3,2]"],
      wrongType: ["net: b is I32, expected F64, F32, F16, BF16, F8_E4M3, F8_E5M2"],
      missing: ["net: gone [4]"],
      extra: ["net: c.extra [1]"],
    });
    return true;
  });
  assert.equal(device.created, 0);
  assert.throws(() => plan.vector("a", 3), /declared twice/);
});

/** A checkpoint of any size made of zeros that watches what is held of it. */
function endless(name: string, shape: number[]) {
  const size = shape.reduce((product, extent) => product * extent, 2);
  const seen = { largest: 0, total: 0, reads: 0 };
  const read = (start: number, end: number) => {
    seen.largest = Math.max(seen.largest, end - start);
    seen.total += end - start;
    seen.reads++;
    return Promise.resolve(new Uint8Array(end - start));
  };
  const checkpoint: Checkpoint = {
    name: "endless",
    tensors: new Map([[name, { file: "f", dtype: "F16", shape, start: 0, end: size }]]),
    files: ["f"],
    read: (_, start = 0, end = size) => read(start, end),
    readFile: (_, start, end) => read(start, end),
  };
  return { checkpoint, size, seen };
}

Deno.test("host memory: reads of 16 MiB, at most 64 MiB and a piece written between two waits", async () => {
  const { checkpoint, size, seen } = endless("w", [100_000, 2048]);
  const plan = new WeightPlan("net");
  plan.matrix("w", [100_000, 2048]);
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
  await plan.load(checkpoint, fake);
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
      { file: "f", dtype: "F16", shape: [1000], start: i * 2000, end: i * 2000 + 2000 } as const,
    ]),
  );
  const plan = new WeightPlan("net");
  for (const key of tensors.keys()) plan.vector(key, 1000);
  await plan.load({ ...checkpoint, tensors }, buffers);
  assert.deepEqual([seen.reads, seen.total], [1, 200_000]);
  plan.dispose();
});

Deno.test("an abort or a failing read midway frees everything, and the plan loads again", async () => {
  const { checkpoint } = endless("w", [20_000, 2048]);
  const plan = new WeightPlan("net");
  plan.matrix("w", [20_000, 2048]);
  const before = gpu.ledger.bytes("weights");
  const controller = new AbortController();
  await assert.rejects(
    plan.load(checkpoint, buffers, {
      signal: controller.signal,
      onProgress: (done) => done > 0 && controller.abort(new Error("enough")),
    }),
    /enough/,
  );
  assert.equal(gpu.ledger.bytes("weights"), before);
  await assert.rejects(plan.load(checkpoint, buffers, { signal: controller.signal }), /enough/);
  let reads = 0;
  const failing: Checkpoint = {
    ...checkpoint,
    readFile: (file, start, end) =>
      ++reads > 2
        ? Promise.reject(new Error("the disk is gone"))
        : checkpoint.readFile(file, start, end),
  };
  await assert.rejects(plan.load(failing, buffers), /the disk is gone/);
  assert.equal(gpu.ledger.bytes("weights"), before);
  await plan.load(checkpoint, buffers);
  assert.equal(gpu.ledger.bytes("weights") - before, 20_000 * 2048 * 2);
  assert.equal(plan.gpuBytes(checkpoint), 20_000 * 2048 * 2);
  await assert.rejects(plan.load(checkpoint, buffers), /loaded already/);
  plan.dispose();
});

Deno.test("the fixture's text encoder loads and its numbers are those of the file", async () => {
  const files = directorySource(new URL("../../fixtures/sd35-tiny", import.meta.url).pathname);
  const checkpoint = await openCheckpoint(files, "text_encoder_3");
  const plan = new WeightPlan("t5");
  const attention = "encoder.block.0.layer.0.SelfAttention";
  const keys = ["q", "k", "v"].map((name) => `${attention}.${name}.weight`);
  const qkv = plan.matrix(keys, [384, 384]);
  const bias = plan.table(`${attention}.relative_attention_bias.weight`, [32, 6]);
  plan.ignore(/./);
  await plan.load(checkpoint, buffers);
  const rows = await values(qkv.tensor);
  for (const [i, key] of keys.entries()) {
    const bytes = await checkpoint.read(checkpoint.tensors.get(key)!);
    const size = 384 * 384;
    assert.deepEqual(rows.slice(i * size, (i + 1) * size), [...new Float16Array(bytes.buffer)]);
  }
  assert.deepEqual(bias.tensor.shape, [32, 6]);
  plan.dispose();
  files.close();
});

Deno.test("stack and concat lay tensors of different heights one below the other", async () => {
  const checkpoint = await checkpointOf([
    stored("a.weight", "F32", [1, 8]),
    stored("b.weight", "F32", [3, 8], 20),
    stored("a.bias", "F32", [1], 40),
    stored("b.bias", "F32", [3], 50),
  ]);
  const plan = new WeightPlan("net");
  const weight = plan.stack([{ key: "b.weight", rows: 3 }, { key: "a.weight", rows: 1 }], 8);
  const bias = plan.concat([{ key: "b.bias", size: 3 }, { key: "a.bias", size: 1 }]);
  await plan.load(checkpoint, buffers);
  assert.deepEqual(weight.shape, [4, 8]);
  assert.deepEqual(bias.shape, [4]);
  const rows = Array.from({ length: 24 }, (_, i) => value(20 + i));
  assert.deepEqual(
    await values(weight.tensor),
    [...rows, ...Array.from({ length: 8 }, (_, i) => value(i))],
  );
  assert.deepEqual(await values(bias.tensor), [value(50), value(51), value(52), value(40)]);
  plan.dispose();
  const wrong = new WeightPlan("net");
  wrong.stack([{ key: "b.weight", rows: 1 }, { key: "a.weight", rows: 1 }], 8);
  wrong.concat([{ key: "b.bias", size: 3 }, { key: "a.bias", size: 1 }]);
  assert.throws(() => wrong.check(checkpoint), /b\.weight is \[3,8\], expected \[1,8\]/);
});
