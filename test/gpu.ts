/** One real device for a test file, and the few moves that every GPU test makes. */
import assert from "node:assert/strict";
import { prepareAdapter } from "../adapter.ts";
import { Gpu, openGpu } from "../src/gpu/device.ts";
import type { Recorder } from "../src/gpu/recorder.ts";
import type { Tensor } from "../src/gpu/tensor.ts";
import { texelColumns } from "../src/weights/parameter.ts";
import { chosen } from "./chosen_kernels.ts";
import { nmse } from "./tolerance.ts";

prepareAdapter();
export const gpu: Gpu = await openGpu(chosen);

/** Seeded numbers in (-scale, scale): the same on every machine. */
export function random(count: number, seed = 1, scale = 1): Float32Array<ArrayBuffer> {
  const values = new Float32Array(count);
  let state = (seed * 2654435761) >>> 0 || 1;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    values[i] = (state / 4294967296 - 0.5) * 2 * scale;
  }
  return values;
}

/** Uploads an f32 tensor. */
export function input(data: Float32Array<ArrayBuffer>, shape: number[], label = "input"): Tensor {
  return gpu.upload(data, shape, label, "other");
}

/**
 * Uploads a weight matrix [N, K] as the loader lays it out: rows padded with zeros to a multiple of
 * eight values. Returns the tensor and the values it really holds (rounded for f16).
 */
export function matrix(
  data: Float32Array,
  [n, k]: [number, number],
  dtype: "f32" | "f16",
): { tensor: Tensor; values: Float32Array } {
  const stride = Math.ceil(k / 8) * 8;
  const padded = dtype === "f16" ? new Float16Array(n * stride) : new Float32Array(n * stride);
  const values = new Float32Array(n * k);
  for (let row = 0; row < n; row++) {
    for (let i = 0; i < k; i++) {
      padded[row * stride + i] = data[row * k + i]!;
      values[row * k + i] = padded[row * stride + i]!;
    }
  }
  const tensor = gpu.createTensor([n, stride], "matrix", "other", dtype);
  gpu.write(tensor, padded as Float32Array<ArrayBuffer>);
  return { tensor: { ...tensor, shape: [n, k] }, values };
}

/** Uploads a weight's f16 rows of `rowLength` values as the loader lays them out in a texture. */
export function weightTexture(rows: number, rowLength: number, values: Float16Array) {
  const texture = gpu.createTexture({
    label: "weight",
    width: rows,
    height: rowLength / 8,
    format: "rgba32uint",
    owner: "other",
  });
  gpu.queue.writeTexture(
    { texture },
    texelColumns(new Uint16Array(values.buffer), rows, rowLength),
    { bytesPerRow: 16 * rows },
    [rows, rowLength / 8],
  );
  return { texture, view: texture.createView() };
}

const twins = new WeakMap<Gpu, Gpu>();

/** The same device, as if it took two workgroups a dimension: every larger grid is cut. */
function narrow(on: Gpu): Gpu {
  const limits = new Proxy(on.limits, {
    get: (limits, name) =>
      name === "maxComputeWorkgroupsPerDimension" ? 2 : Reflect.get(limits, name),
  });
  const { pipelines, tuner } = on;
  const twin = twins.get(on) ?? new Gpu(on.device, on.adapter, on.family);
  twins.set(on, Object.assign(twin, { limits, pipelines, tuner }));
  return twin;
}

/**
 * Records, runs and reads back what `build` returns; again in dispatches of few workgroups, which
 * must give the same bits. Frees nothing: devices end with the file.
 */
export async function run(build: (rec: Recorder) => Tensor, on = gpu): Promise<Float32Array> {
  const values = await runOnce(on, build);
  const cut = await runOnce(narrow(on), build);
  const other = values.findIndex((value, i) => !Object.is(value, cut[i]));
  assert.equal(other, -1, `In dispatches of few workgroups value ${other} is another`);
  return values;
}

/** A copy of a tensor for an op that changes it. */
export function copyOf(rec: Recorder, tensor: Tensor): Tensor {
  const copy = rec.alloc(tensor.shape, tensor.label, tensor.dtype);
  rec.copy(tensor, copy);
  return copy;
}

async function runOnce(on: Gpu, build: (rec: Recorder) => Tensor): Promise<Float32Array> {
  const recorder = on.record("test");
  const output = build(recorder);
  const program = await recorder.finish();
  await on.run(program);
  const values = await on.readFloats(output);
  program.dispose();
  return values;
}

/** Fails, with the number, unless the NMSE is within `limit`. */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  limit: number,
  what = "result",
): void {
  const error = nmse(actual, expected);
  assert.ok(error <= limit, `${what}: NMSE ${error.toExponential(2)} exceeds ${limit}`);
}
