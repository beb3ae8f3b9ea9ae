/** What the adapter can do at most, to judge kernels by. */
import type { Gpu } from "../../src/gpu/device.ts";
import { defineKernel, type Specialisation } from "../../src/gpu/kernel.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";
import { type Contender, race } from "./race.ts";
import fmaSource from "./fma.wgsl" with { type: "text" };
import streamSource from "./stream.wgsl" with { type: "text" };

export interface AdapterLimits {
  /** Floating-point operations a second: f32 multiply-adds in registers. */
  readonly flops: number;
  /** Bytes a second, read and written together, of arrays as large as a layer's activations. */
  readonly bandwidth: number;
}

const fma = defineKernel("fma", fmaSource);
const stream = defineKernel("stream", streamSource);

/** Chains and REPEATS of the file, a multiply and an add each. */
const flopsPerTurn = 2 * 8 * 16;
const turns = 400;
const invocations = 64 * 2048;

/** 1357 tokens of 1536 f32, rounded: 8 MiB in and 8 MiB out. */
const streamVectors = 2 ** 19;
const streamWidths = [1, 4, 16];

export async function measureLimits(gpu: Gpu, seconds: number): Promise<AdapterLimits> {
  const out = gpu.createTensor([invocations], "out", "other");
  const x = gpu.createTensor([streamVectors, 4], "x", "other");
  const y = gpu.createTensor([streamVectors, 4], "y", "other");
  const arithmetic = await single(gpu, fma, {}, { out }, { turns }, invocations / 64);
  const streams = [];
  for (const width of streamWidths) {
    const groups = streamVectors / 64 / width;
    const params = { count: streamVectors };
    streams.push(await single(gpu, stream, { const: { WIDTH: width } }, { x, y }, params, groups));
  }
  const best = async (contenders: readonly Contender[]) =>
    Math.min(...(await race(contenders, { rounds: 7, seconds })).map((time) => time.best)) / 1000;
  const limits = {
    flops: flopsPerTurn * turns * invocations / await best([arithmetic]),
    bandwidth: 2 * 16 * streamVectors / await best(streams),
  };
  gpu.destroyTensor(out, x, y);
  return limits;
}

async function single(
  gpu: Gpu,
  kernel: typeof fma,
  specialise: Specialisation,
  bindings: Record<string, Tensor>,
  params: Record<string, number>,
  groups: number,
): Promise<Contender> {
  const rec = gpu.record(kernel.name);
  rec.dispatch({ label: kernel.name, kernel, specialise, bindings, params, grid: [groups, 1, 1] });
  const program = await rec.finish();
  return {
    name: kernel.name,
    async run(count) {
      await gpu.submit(kernel.name, (encoder) => {
        for (let i = 0; i < count; i++) program.replay(encoder);
      });
      await gpu.idle();
    },
  };
}
