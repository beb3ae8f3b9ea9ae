/** How declared parameters lie in GPU memory: types, rows, textures, splits. */
import assert from "node:assert/strict";
import { rowStride } from "../../src/gpu/tensor.ts";
import { DeclaredWeights } from "../../src/weights/declared.ts";
import { gpu } from "../gpu.ts";
import { buffers, limited, stored, texels, value, values } from "./device.ts";
import { checkpointOf } from "./make.ts";

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
    const declared = new DeclaredWeights("net");
    const matrix = declared.stack([{ key: "q", rows: 3 }, { key: "k", rows: 3 }], 10);
    const bias = declared.concat([{ key: "bias", rows: 5 }, { key: "bias2", rows: 5 }]);
    const conv = declared.conv("conv", [2, 3, 2, 2]);
    const table = declared.table("table", [1, 3, 5]);
    declared.ignore(/position_ids$/);
    assert.throws(() => matrix.tensor, /net\/q\+k is not loaded/);
    const before = gpu.ledger.bytes("weights");
    await declared.load(checkpoint, buffers, { weightType });

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

    declared.dispose();
    assert.equal(gpu.ledger.bytes("weights"), before);
    assert.throws(() => matrix.tensor, /not loaded/);
  });
}

Deno.test("float8 loads as f16", async () => {
  const bytes = Uint8Array.of(0x38, 0xb8, 0x7e, 0x01);
  const checkpoint = await checkpointOf([{ name: "w", dtype: "F8_E4M3", shape: [2, 2], bytes }]);
  const declared = new DeclaredWeights("net");
  const w = declared.matrix("w", [2, 2]);
  await declared.load(checkpoint, buffers);
  assert.equal(w.tensor.dtype, "f16");
  const read = await values(w.tensor);
  assert.deepEqual([...read.slice(0, 2), ...read.slice(8, 10)], [1, -1, 448, 2 ** -9]);
  declared.dispose();
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
  const declared = new DeclaredWeights("net");
  const wideMatrix = declared.stack([{ key: "wide", rows: 2 }, { key: "other", rows: 2 }], 8);
  const nearMatrix = declared.matrix("near", [2, 8]);
  const progress: number[] = [];
  await declared.load(checkpoint, buffers, {
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
  declared.dispose();
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
  const declared = new DeclaredWeights("net");
  const matrix = declared.stack([{ key: "a", rows: 70 }, { key: "b", rows: 70 }], 10);
  const wide = declared.matrix("wide", [4, 8]);
  const conv = declared.conv("conv", [128, 2, 3, 3]);
  const few = declared.conv("few", [15, 2, 3, 3]);
  const rows = declared.matrix("rows", [5, 8], { lookup: true });
  const before = gpu.ledger.bytes("weights");
  const limits = { ...limited(2 ** 20).limits, maxTextureDimension2D: 130 } as GPUSupportedLimits;
  await declared.load(checkpoint, { ...limited(2 ** 20), limits, prefersTextures: true });

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
  assert.ok(
    bytes >= declared.gpuBytes(checkpoint) && bytes <= declared.gpuBytes(checkpoint) + 8192,
  );
  declared.dispose();
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
  const declared = new DeclaredWeights("net");
  const big = declared.stack([{ key: "a", rows: 100 }, { key: "b", rows: 100 }], 10);
  const small = declared.matrix("small", [2, 8]);
  const table = declared.table("table", [1, 200, 13]);
  await declared.load(checkpoint, limited(5000));
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
  declared.dispose();
});

Deno.test("stack and concat lay tensors of different heights one below the other", async () => {
  const checkpoint = await checkpointOf([
    stored("a.weight", "F32", [1, 8]),
    stored("b.weight", "F32", [3, 8], 20),
    stored("a.bias", "F32", [1], 40),
    stored("b.bias", "F32", [3], 50),
  ]);
  const declared = new DeclaredWeights("net");
  const weight = declared.stack([{ key: "b.weight", rows: 3 }, { key: "a.weight", rows: 1 }], 8);
  const bias = declared.concat([{ key: "b.bias", rows: 3 }, { key: "a.bias", rows: 1 }]);
  await declared.load(checkpoint, buffers);
  assert.deepEqual(weight.shape, [4, 8]);
  assert.deepEqual(bias.shape, [4]);
  const rows = Array.from({ length: 24 }, (_, i) => value(20 + i));
  assert.deepEqual(
    await values(weight.tensor),
    [...rows, ...Array.from({ length: 8 }, (_, i) => value(i))],
  );
  assert.deepEqual(await values(bias.tensor), [value(50), value(51), value(52), value(40)]);
  declared.dispose();
  const wrong = new DeclaredWeights("net");
  wrong.stack([{ key: "b.weight", rows: 1 }, { key: "a.weight", rows: 1 }], 8);
  wrong.concat([{ key: "b.bias", rows: 3 }, { key: "a.bias", rows: 1 }]);
  assert.throws(() => wrong.check(checkpoint), /b\.weight is \[3,8\], wanted \[1,8\]/);
});
