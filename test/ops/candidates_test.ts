/**
 * Whatever the tuner chooses: a sample has the same bits alone and in a batch, and every candidate
 * computes the same product.
 */
import assert from "node:assert/strict";
import { Gpu } from "../../src/gpu/device.ts";
import type { Recorder } from "../../src/gpu/recorder.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";
import type { KernelChooser } from "../../src/gpu/tuning.ts";
import { attention } from "../../src/ops/attention.ts";
import { conv2d } from "../../src/ops/conv2d.ts";
import { linear } from "../../src/ops/linear.ts";
import { assertClose, gpu, input, matrix, random, run as runOn, weightTexture } from "../gpu.ts";
import { tolerance } from "../tolerance.ts";

/** Always answers with the candidate at `index`, or the last. */
class Forced implements KernelChooser {
  most = 0;
  readonly taken: string[] = [];

  constructor(readonly index: number) {}

  known({ key, candidates }: Parameters<KernelChooser["known"]>[0]): string {
    this.most = Math.max(this.most, candidates.length);
    const { name } = candidates[Math.min(this.index, candidates.length - 1)]!;
    this.taken.push(`${key}: ${name}`);
    return name;
  }

  keep(): void {}

  answer(): Promise<boolean> {
    return Promise.resolve(false);
  }
}

interface Case {
  readonly name: string;
  /** Of one sample. */
  readonly shape: readonly number[];
  readonly build: (rec: Recorder, x: Tensor) => Tensor;
}

function texturedLinear(rows: number, n: number, k: number): Case {
  const values = Float16Array.from(random(n * k, 2));
  const tensor = gpu.createTensor([n, k], "weight", "other", "f16");
  const parts = [{ tensor, texture: weightTexture(n, k, values), rowStart: 0, rows: n }];
  const weight = { shape: [n, k], parts };
  return {
    name: `linear from textures ${rows} x ${k} -> ${n}`,
    shape: [rows, k],
    build: (rec, x) => linear(rec, { x, weight, label: "test" }),
  };
}

function linearCase(rows: number, n: number, k: number, dtype: "f16" | "f32"): Case {
  const { tensor } = matrix(random(n * k, 2), [n, k], dtype);
  const weight = { shape: [n, k], parts: [{ tensor, rowStart: 0, rows: n }] };
  return {
    name: `linear ${dtype} ${rows} x ${k} -> ${n}`,
    shape: [rows, k],
    build: (rec, x) => linear(rec, { x, weight, label: "test" }),
  };
}

function convCase(extent: number, n: number, channels: number, textured: boolean): Case {
  const rowLength = 9 * channels;
  const values = random(n * rowLength, 2);
  const { tensor } = matrix(values, [n, rowLength], "f16");
  const part = { tensor, rowStart: 0, rows: n };
  const texture = textured && weightTexture(n, rowLength, Float16Array.from(values));
  const weight = { shape: [n, 3, 3, channels], parts: [texture ? { ...part, texture } : part] };
  const bias = input(random(n, 5), [n]);
  return {
    name: `conv2d${textured ? " from textures" : ""} ${channels} -> ${n}`,
    shape: [extent, extent, channels],
    build: (rec, x) => conv2d(rec, { x, weight, bias, label: "test" }),
  };
}

function attentionCase(tokens: number): Case {
  const [heads, headDim] = [2, 64];
  return {
    name: `attention ${tokens}`,
    shape: [tokens, 3 * heads * headDim],
    build: (rec, x) =>
      attention(rec, { streams: [x], heads, headDim, scale: 0.125, label: "test" })[0]!,
  };
}

function run(on: Gpu, { build }: Case, x: Float32Array<ArrayBuffer>, shape: number[]) {
  return runOn((rec) => build(rec, input(x, shape)), on);
}

const batch = 3;

/** Runs a case with each of its candidates; returns what was taken. */
async function compareAll(on: Gpu, c: Case): Promise<string[]> {
  const count = c.shape.reduce((product, extent) => product * extent, 1);
  const x = random(batch * count, 3);
  const taken = new Set<string>();
  let first: Float32Array | undefined;
  let most = 1;
  for (let index = 0; index < most; index++) {
    const forced = new Forced(index);
    on.tuner = forced;
    const together = await run(on, c, x, [batch, ...c.shape]);
    for (let sample = 0; sample < batch; sample++) {
      const part = x.slice(sample * count, (sample + 1) * count);
      const alone = await run(on, c, part, [1, ...c.shape]);
      const size = together.length / batch;
      assert.deepEqual(alone, together.slice(sample * size, (sample + 1) * size), `${index}`);
    }
    // The batch is no part of the question.
    assert.equal(new Set(forced.taken).size, 1, `${forced.taken}`);
    taken.add(forced.taken[0]!);
    assertClose(together, first ??= together, tolerance.opTranscendental, forced.taken[0]);
    // f16 holds f16 weights as they are.
    if (forced.taken[0]!.endsWith(" half")) assert.deepEqual(together, first);
    most = forced.most;
  }
  return [...taken];
}

const software = gpu;
const hardware = new Gpu(gpu.device, gpu.adapter, "gpu");

/** Two tiles, and both again with f16 weights left f16. */
const groups = gpu.adapter.shaderF16 ? 4 : 2;

const cases: readonly (readonly [Gpu, Case, number])[] = [
  [software, texturedLinear(21, 72, 64), 2],
  [software, texturedLinear(21, 200, 64), 2],
  [software, texturedLinear(33, 1100, 1864), 2],
  [software, linearCase(33, 704, 728, "f16"), 2],
  [software, convCase(9, 136, 16, true), 2],
  [software, convCase(9, 20, 16, true), 2],
  [hardware, linearCase(5, 70, 72, "f16"), 2],
  [hardware, linearCase(70, 70, 72, "f16"), groups],
  [hardware, linearCase(70, 70, 72, "f32"), 2],
  [hardware, convCase(9, 20, 16, false), groups],
  [hardware, attentionCase(45), 2],
];

for (const [on, c, count] of cases) {
  const kind = on === software ? "software adapters" : "GPUs";
  Deno.test(`${c.name}, candidates for ${kind}: samples alone and in a batch`, async () => {
    const taken = await compareAll(on, c);
    assert.equal(taken.length, count, `candidates ${taken}`);
  });
}
