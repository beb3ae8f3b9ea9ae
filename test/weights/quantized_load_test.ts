/** What the loader puts in memory as q8_0 and q4_0: the quantiser's words, in buffers and textures. */
import assert from "node:assert/strict";
import { dryGpu } from "../../src/gpu/dry_device.ts";
import { type QuantType, scaleWords } from "../../src/gpu/quantized.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";
import type { WeightTexture } from "../../src/gpu/texture.ts";
import { toFloat } from "../../src/weights/convert.ts";
import type { ParameterPart, WeightGpu } from "../../src/weights/parts.ts";
import { DeclaredWeights } from "../../src/weights/declared.ts";
import { quantize } from "../../src/weights/quantize.ts";
import { gpu, random } from "../gpu.ts";
import { bytesOf, checkpointOf, type MadeTensor } from "./make.ts";

function stored(name: string, shape: number[], seed: number, dtype: "F32" | "F16" = "F16") {
  const values = random(shape.reduce((product, extent) => product * extent, 1), seed, 0.2);
  const bytes = bytesOf(dtype === "F16" ? Float16Array.from(values) : values);
  return { name, dtype, shape, bytes } satisfies MadeTensor;
}

/** The device, with everything in buffers or in textures, under limits of the test. */
function device(prefersTextures: boolean, limits: Partial<GPUSupportedLimits> = {}): WeightGpu {
  return {
    limits: {
      maxBufferSize: 2 ** 30,
      maxStorageBufferBindingSize: 2 ** 27,
      maxTextureDimension2D: 8192,
      ...limits,
    } as GPUSupportedLimits,
    prefersTextures,
    queue: gpu.queue,
    createBuffer: (request) => gpu.createBuffer(request),
    destroyBuffer: (buffer) => gpu.destroyBuffer(buffer),
    createTexture: (request) => gpu.createTexture(request),
    destroyTexture: (texture) => gpu.destroyTexture(texture),
    scope: (label, work) => gpu.scope(label, work),
    idle: () => gpu.idle(),
  };
}

/** Rows of `words` words, from a buffer, or from lines of a texture that hold `run` of each row. */
async function rowsIn(
  holder: Tensor | WeightTexture,
  { rows, words, run }: { rows: number; words: number; run: number },
): Promise<number[]> {
  if (!("texture" in holder)) return [...new Uint32Array(await gpu.readBytes(holder))];
  const width = Math.ceil(rows / 4) * run;
  const lines = words / run;
  const bytesPerRow = Math.ceil(16 * width / 256) * 256;
  const staging = gpu.createTensor([bytesPerRow * lines / 4], "texels", "other", "u32");
  await gpu.submit("texels", (encoder) =>
    encoder.copyTextureToBuffer(
      { texture: holder.texture },
      { buffer: staging.storage.buffer, bytesPerRow },
      [width, lines],
    ));
  const read = new Uint32Array(await gpu.readBytes(staging));
  gpu.destroyTensor(staging);
  return Array.from({ length: rows * words }, (_, i) => {
    const [row, word] = [Math.floor(i / words), i % words];
    const [line, at] = [Math.floor(word / run), word % run];
    return read[line * bytesPerRow / 4 + row * run + at]!;
  });
}

/** Compares a part with the quantiser's result for its rows. */
async function assertHolds(part: ParameterPart, type: QuantType, all: Float32Array, k: number) {
  const { rowStart, rows, quantized } = part;
  const expected = quantize(type, all.slice(rowStart * k, (rowStart + rows) * k), k)!;
  assert.equal(quantized!.type, type);
  const words = expected.quants.length / rows;
  const run = type === "q8_0" ? 2 : 1;
  assert.deepEqual(
    await rowsIn(part.texture ?? part.tensor, { rows, words, run }),
    [...expected.quants],
  );
  assert.deepEqual(
    await rowsIn(quantized!.scales, { rows, words: scaleWords(k), run: 1 }),
    [...expected.scales],
  );
}

/** Values of tensors one after the other. */
function floatsOf(
  ...tensors: { readonly dtype: "F32" | "F16"; readonly bytes: Uint8Array<ArrayBuffer> }[]
) {
  const all = tensors.map(({ dtype, bytes }) => toFloat(dtype, bytes));
  const values = new Float32Array(all.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of all) {
    values.set(part, at);
    at += part.length;
  }
  return values;
}

for (const type of ["q8_0", "q4_0"] as const) {
  for (const inTextures of [false, true]) {
    const place = inTextures ? "textures" : "buffers";

    Deno.test(`${type} in ${place}: the quantiser's bytes, the plan's bytes, and nothing left`, async () => {
      const q = stored("q", [132, 160], 1);
      const v = stored("v", [132, 160], 2);
      const wide = stored("wide", [128, 128], 3, "F32");
      const made = [
        q,
        v,
        wide,
        stored("lookup", [256, 128], 4),
        stored("narrow", [64, 256], 5),
        stored("shallow", [256, 64], 6),
        stored("odd", [256, 136], 7),
        stored("conv", [128, 128, 3, 3], 8),
        stored("bias", [256], 9),
        stored("table", [1, 128, 128], 10),
      ];
      const checkpoint = await checkpointOf(made);
      const declare = () => {
        const declared = new DeclaredWeights("net");
        return {
          declared,
          fused: declared.stack([{ key: "q", rows: 132 }, { key: "v", rows: 132 }], 160),
          wide: declared.matrix("wide", [128, 128]),
          rest: [
            declared.matrix("lookup", [256, 128], { lookup: true }),
            declared.matrix("narrow", [64, 256]),
            declared.matrix("shallow", [256, 64]),
            declared.matrix("odd", [256, 136]),
            declared.conv("conv", [128, 128, 3, 3]),
            declared.vector("bias", 256),
            declared.table("table", [1, 128, 128]),
          ],
        };
      };
      const { declared, fused, wide: wideMatrix, rest } = declare();
      const before = gpu.ledger.bytes("weights");
      await declared.load(checkpoint, device(inTextures), { weightType: type });
      assert.equal(fused.parts.length, 1);
      await assertHolds(fused.parts[0]!, type, floatsOf(q, v), 160);
      await assertHolds(wideMatrix.parts[0]!, type, floatsOf(wide), 128);
      assert.equal(fused.parts[0]!.texture !== undefined, inTextures);
      assert.throws(() => fused.tensor, /net\/q\+v is q[84]_0 blocks: use its parts/);
      for (const parameter of rest) assert.equal(parameter.parts[0]!.quantized, undefined);
      assert.deepEqual(rest.map(({ tensor }) => tensor.dtype), [
        ...Array(5).fill("f16"),
        "f32",
        "f16",
      ]);

      const bytes = gpu.ledger.bytes("weights") - before;
      const isLike = { limits: device(inTextures).limits, adapter: gpu.adapter };
      if (!inTextures) isLike.adapter = { ...gpu.adapter, isSoftware: false };
      const dry = dryGpu(isLike);
      await declare().declared.allocate(checkpoint, dry, type);
      assert.equal(dry.ledger.bytes("weights"), bytes);
      const planned = declared.gpuBytes(checkpoint, type);
      assert.ok(bytes >= planned && bytes <= 1.05 * planned, `${bytes} of ${planned}`);
      declared.dispose();
      assert.equal(gpu.ledger.bytes("weights"), before);
    });

    Deno.test(`${type} in ${place}: parts where the whole cannot be bound`, async () => {
      const a = stored("a", [100, 160], 1);
      const b = stored("b", [100, 160], 2);
      const declared = new DeclaredWeights("net");
      const matrix = declared.stack([{ key: "a", rows: 100 }, { key: "b", rows: 100 }], 160);
      // Texels of 130 rows; or bytes of as many rows with their scales.
      const rowBytes = type === "q8_0" ? 172 : 92;
      const limits = inTextures
        ? { maxTextureDimension2D: 130 }
        : { maxStorageBufferBindingSize: 130 * rowBytes };
      await declared.load(await checkpointOf([a, b]), device(inTextures, limits), {
        weightType: type,
      });
      assert.deepEqual(matrix.parts.map((p) => [p.rowStart, p.rows]), [[0, 128], [128, 72]]);
      for (const part of matrix.parts) await assertHolds(part, type, floatsOf(a, b), 160);
      declared.dispose();
    });
  }
}

Deno.test("a tensor of several reads is quantised piece by piece", async () => {
  const large = stored("w", [2100, 2048], 1);
  const checkpoint = await checkpointOf([large]);
  for (const inTextures of [false, true]) {
    const declared = new DeclaredWeights("net");
    const matrix = declared.matrix("w", [2100, 2048]);
    await declared.load(checkpoint, device(inTextures), { weightType: "q4_0" });
    await assertHolds(matrix.parts[0]!, "q4_0", floatsOf(large), 2048);
    declared.dispose();
  }
});

Deno.test("a matrix whose values blocks cannot hold becomes f32, its neighbour stays quantised", async () => {
  const wide = stored("wide", [128, 128], 1, "F32");
  new DataView(wide.bytes.buffer).setFloat32(4 * 1000, 1e9, true);
  const near = stored("near", [128, 128], 2, "F32");
  for (const inTextures of [false, true]) {
    const declared = new DeclaredWeights("net");
    const wideMatrix = declared.matrix("wide", [128, 128]);
    const nearMatrix = declared.matrix("near", [128, 128]);
    await declared.load(await checkpointOf([wide, near]), device(inTextures), {
      weightType: "q8_0",
    });
    assert.equal(wideMatrix.tensor.dtype, "f32");
    const values = new Float32Array(await gpu.readBytes(wideMatrix.tensor));
    assert.deepEqual(values, floatsOf(wide));
    await assertHolds(nearMatrix.parts[0]!, "q8_0", floatsOf(near), 128);
    declared.dispose();
  }
});
