/** Tensors that are not stored as declared: rows of a larger one, halves swapped, ggml's blocks. */
import assert from "node:assert/strict";
import type { Checkpoint } from "../../src/weights/checkpoint.ts";
import { readTensor } from "../../src/weights/checkpoint.ts";
import { toFloat, toHalf } from "../../src/weights/convert.ts";
import { byteLength, type ElementType, type RealType } from "../../src/weights/element_types.ts";
import { DeclaredWeights } from "../../src/weights/declared.ts";
import type { WeightType } from "../../src/weights/weight_type.ts";
import { quantize } from "../../src/weights/quantize.ts";
import { halvesSwapped, rowsOf, stacked, type StoredTensor } from "../../src/weights/tensors.ts";
import { gpu, random } from "../gpu.ts";
import { buffers } from "./device.ts";
import { bytesOf, checkpointOf, type MadeTensor } from "./make.ts";

const [rows, columns] = [160, 128];
const names = ["to_q", "to_k", "to_v"];

/** Random halves; the fused one holds q, k and v below each other. */
const fused = Float16Array.from(random(3 * rows * columns, 1));
const modulation = Float16Array.from(random(2 * rows * columns, 2));
const half = modulation.length / 2;

const matrix = (name: string, values: Float16Array<ArrayBuffer>): MadeTensor => ({
  name,
  dtype: "F16",
  shape: [values.length / columns, columns],
  bytes: bytesOf(values),
});

/** As the networks declare them. */
const plain = await checkpointOf([
  ...names.map((name, i) =>
    matrix(name, fused.slice(i * rows * columns, (i + 1) * rows * columns))
  ),
  matrix(
    "norm_out",
    Float16Array.of(...modulation.subarray(half), ...modulation.subarray(0, half)),
  ),
]);

/** As single files have them, seen as the networks declare them. */
async function viewed(): Promise<Checkpoint> {
  const checkpoint = await checkpointOf([matrix("qkv", fused), matrix("adaLN", modulation)]);
  const qkv = checkpoint.tensors.get("qkv")!;
  return {
    ...checkpoint,
    tensors: new Map([
      ...names.map((name, i) => [name, rowsOf(qkv, i * rows, (i + 1) * rows)] as const),
      ["norm_out", halvesSwapped(checkpoint.tensors.get("adaLN")!)],
    ]),
  };
}

/** Everything that lies in GPU memory after loading, and how many reads it took. */
async function loaded(checkpoint: Checkpoint, weightType: WeightType) {
  const declared = new DeclaredWeights("net");
  const parameters = [
    declared.stack(names.map((key) => ({ key, rows })), columns),
    declared.matrix("norm_out", [2 * rows, columns]),
  ];
  let reads = 0;
  await declared.load(
    { ...checkpoint, readRange: (range) => (reads++, checkpoint.readRange(range)) },
    buffers,
    { weightType },
  );
  const bytes: number[][] = [];
  for (const { tensor, quantized } of parameters.flatMap(({ parts }) => parts)) {
    const scales = quantized && "shape" in quantized.scales ? [quantized.scales] : [];
    for (const array of [tensor, ...scales]) {
      bytes.push([...new Uint8Array(await gpu.readBytes(array))]);
    }
  }
  declared.dispose();
  return { bytes, reads };
}

for (const weightType of ["auto", "f32", "q8_0", "q4_0"] as const) {
  Deno.test(`rows of a fused tensor and swapped halves load as plain ones: ${weightType}`, async () => {
    const expected = await loaded(plain, weightType);
    const found = await loaded(await viewed(), weightType);
    assert.deepEqual(found.bytes, expected.bytes);
    assert.equal(expected.bytes.length, weightType.startsWith("q") ? 4 : 2);
    assert.deepEqual([found.reads, expected.reads], [1, 1], "neighbours are read together");
  });
}

Deno.test("a view is checked like any tensor, and read across its ranges", async () => {
  const checkpoint = await viewed();
  const declared = new DeclaredWeights("net");
  declared.matrix("norm_out", [rows, columns]);
  declared.ignore(/^to_/);
  assert.throws(() => declared.check(checkpoint), /norm_out is \[320,128\], wanted \[160,128\]/);
  const tensor = checkpoint.tensors.get("norm_out")!;
  const bytes = await readTensor(checkpoint, tensor, half * 2 - 6, half * 2 + 4);
  const [last, first] = [modulation.subarray(-3), modulation.subarray(0, 2)];
  assert.deepEqual([...new Float16Array(bytes.buffer)], [...last, ...first]);
  const inner = rowsOf(rowsOf(tensor, 100, 300), 50, 70);
  const whole = [...new Float16Array((await readTensor(checkpoint, tensor)).buffer)];
  const part = [...new Float16Array((await readTensor(checkpoint, inner)).buffer)];
  assert.deepEqual(part, whole.slice(150 * columns, 170 * columns));
  assert.throws(() => rowsOf(tensor, 300, 321), /no rows 300 to 321/);
  assert.throws(() => stacked(tensor, { ...tensor, shape: [640, 64] }), /one shape/);
});

/** Blocks as ggml lays them: the scale, then the integers. */
function ggml(type: "Q8_0" | "Q4_0", values: Float32Array): Uint8Array<ArrayBuffer> {
  const { quants, scales } = quantize(type === "Q8_0" ? "q8_0" : "q4_0", values, values.length)!;
  const bytes = new Uint8Array(byteLength(type, values.length));
  const integers = new Uint8Array(quants.buffer);
  const size = byteLength(type, 32);
  for (let block = 0; block < values.length / 32; block++) {
    const to = bytes.subarray(block * size, (block + 1) * size);
    to.set(new Uint8Array(scales.buffer, 2 * block, 2));
    for (let i = 0; i < 32; i++) {
      if (type === "Q8_0") to[2 + i] = integers[32 * block + i]!;
      else {
        const bits = integers[16 * block + (i >> 1)]! >> 4 * (i & 1) & 15;
        // Ours are in two's complement, ggml's count from -8.
        to[2 + i % 16]! |= (bits ^ 8) << (i < 16 ? 0 : 4);
      }
    }
  }
  return bytes;
}

for (const [type, levels] of [["Q8_0", 127], ["Q4_0", 8]] as const) {
  Deno.test(`${type} blocks load as what they stand for`, async () => {
    const [n, k] = [6, 64];
    const values = random(n * k, 3);
    const stored: StoredTensor = {
      type,
      shape: [n, k],
      ranges: [{ file: "f", start: 0, end: byteLength(type, n * k) }],
    };
    const bytes = ggml(type, values);
    const floats = toFloat(type, bytes);
    for (let i = 0; i < n * k; i += 32) {
      const block = values.subarray(i, i + 32);
      const largest = Math.max(...block.map(Math.abs));
      const error = Math.max(...block.map((value, j) => Math.abs(value - floats[i + j]!)));
      // Half a step, or a whole one where the largest's sign has no level; and the scale's own error.
      const step = largest / levels;
      assert.ok(error <= step * (type === "Q8_0" ? 0.5 : 1) + largest / 1024, `${error} ${step}`);
    }
    const declared = new DeclaredWeights("net");
    const matrix = declared.matrix("w", [n, k]);
    await declared.load({
      name: "blocks",
      tensors: new Map([["w", stored]]),
      readRange: ({ start, end }) => Promise.resolve(bytes.slice(start, end)),
    }, buffers);
    assert.equal(matrix.tensor.dtype, "f16");
    const read = new Float16Array(await gpu.readBytes(matrix.tensor));
    assert.deepEqual([...read], [...Float16Array.from(floats)]);
    declared.dispose();
  });
}

Deno.test("blocks where a row does not begin with one, and scales that f16 cannot multiply", () => {
  const end = byteLength("Q8_0", 64);
  const of = (shape: number[], type: ElementType = "Q8_0"): Checkpoint => ({
    name: "blocks",
    tensors: new Map([["w", { type, shape, ranges: [{ file: "f", start: 0, end }] }]]),
    readRange: () => Promise.reject(new Error("nothing is read")),
  });
  const declared = new DeclaredWeights("net");
  declared.matrix("w", [4, 16]);
  assert.throws(() => declared.check(of([4, 16])), /w is Q8_0, wanted F64/);
  const bias = new DeclaredWeights("net");
  bias.vector("w", 64);
  assert.throws(() => bias.check(of([64])), /w is Q8_0, wanted F64/);
  const wide = ggml("Q8_0", new Float32Array(32).fill(1));
  // The largest scale there is.
  wide.set([0xff, 0x7b]);
  assert.equal(toHalf("Q8_0" satisfies RealType, wide), undefined);
  assert.equal(toFloat("Q8_0", wide)[0], 65504 * 127);
});
