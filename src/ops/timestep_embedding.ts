import source from "../../kernels/timestep_embedding.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder, RecordingDevice } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { checkTensor } from "./support/check.ts";
import type { KernelUse } from "./support/kernel_use.ts";

export interface TimestepEmbeddingOptions {
  /** f32 (B), as the scheduler gives them: sigma * 1000, not rounded. */
  readonly timesteps: Tensor;
  /** Even. */
  readonly dim: number;
  readonly label: string;
}

const kernel = defineKernel("timestep_embedding", source);
const maxPeriod = 10000;

/** A few hundred bytes a device, kept as long as the device lives. */
const tables = new WeakMap<RecordingDevice, Map<number, Tensor>>();

/** Sinusoidal features (B, dim): diffusers' `Timesteps(dim, flip_sin_to_cos=True, 0)`. */
export function timestepEmbedding(rec: Recorder, options: TimestepEmbeddingOptions): Tensor {
  const { timesteps, dim, label } = options;
  checkTensor("timestepEmbedding", "timesteps", timesteps, [null]);
  if (dim < 2 || dim % 2 !== 0) {
    throw new TypeError(`timestepEmbedding: dim is ${dim}, wanted even`);
  }
  const batch = timesteps.shape[0]!;
  const y = rec.alloc([batch, dim], label);
  const count = batch * dim / 2;
  rec.dispatch({
    label: `timestepEmbedding/${label}`,
    kernel,
    bindings: { timesteps, frequencies: frequencyTable(rec.gpu, dim / 2), y },
    params: { count, half_width: dim / 2 },
    grid: flatGrid(count),
  });
  return y;
}

/** `max_period ** (-i / half)`, rounded where torch's float32 rounds. */
export function frequencies(half: number): Float32Array<ArrayBuffer> {
  const { fround } = Math;
  return Float32Array.from({ length: half }, (_, i) => {
    const exponent = fround(fround(fround(-Math.log(maxPeriod)) * i) / half);
    return Math.exp(exponent);
  });
}

function frequencyTable(gpu: RecordingDevice, half: number): Tensor {
  let known = tables.get(gpu);
  if (!known) tables.set(gpu, known = new Map());
  let table = known.get(half);
  if (!table) {
    table = gpu.upload(frequencies(half), [half], `timestep frequencies ${half}`, "other");
    known.set(half, table);
  }
  return table;
}

export const timestepEmbeddingUses: readonly KernelUse[] = [{ kernel, specialisations: [{}] }];
