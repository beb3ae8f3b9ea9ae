/**
 * What the networks' programs cost at most: compute passes, dispatches, and bytes of the arena. Who
 * lowers one of these lowers the number here, too.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { layOutModel } from "../../../src/backends/load.ts";
import { type DeviceModel, dryGpu } from "../../../src/gpu/dry_device.ts";
import type { Gpu } from "../../../src/gpu/device.ts";
import { asDevice } from "../../../src/gpu/profiles.ts";
import type { Components, StepShape } from "../../../src/models/sd3/components.ts";
import { describeModel } from "../../../src/models/mod.ts";
import { directorySource } from "../../../src/weights/deno_source.ts";

const source = directorySource(
  fileURLToPath(new URL("../../../fixtures/sd35-tiny", import.meta.url)),
);
const model = await describeModel(source);

const like = (description: string, isSoftware: boolean): DeviceModel => ({
  limits: asDevice().limits,
  adapter: { vendor: "", architecture: "", description, isSoftware },
});
/** The families of kernels: those that read textures, and those for GPUs. */
const adapters = { llvmpipe: like("llvmpipe", true), gpu: like("a GPU", false) };
type AdapterName = keyof typeof adapters;

interface Cost {
  readonly passes: number;
  readonly dispatches: number;
  readonly arena: number;
}

interface Case {
  readonly run: (gpu: Gpu, components: Components) => Promise<void>;
  readonly atMost: Readonly<Record<AdapterName, Cost>>;
}

const tensor = (gpu: Gpu, ...shape: number[]) => gpu.createTensor(shape, "given", "other");

const step = (changes: Partial<StepShape>) => async (_: Gpu, { transformer }: Components) => {
  const shape = { height: 16, width: 16, contextLength: 154, images: 1, rows: 2 };
  const whole = { ...shape, combined: 0, slots: 0, skipRows: 0, skipLayers: [], ...changes };
  const nothing = () => {};
  const { record } = await transformer.step(whole);
  await (await record({ before: nothing, after: nothing, write: nothing })).submit();
};

const decode = (size: number) => (gpu: Gpu, { decoder }: Components) =>
  decoder.decode(tensor(gpu, 1, 16, size, size), tensor(gpu, 1, 8 * size, 8 * size, 3));

const cases: Readonly<Record<string, Case>> = {
  "a step of one image of 128x128 with guidance": {
    run: step({}),
    atMost: {
      llvmpipe: { passes: 37, dispatches: 126, arena: 5_028_256 },
      gpu: { passes: 2, dispatches: 120, arena: 2_441_760 },
    },
  },
  "a step of four images of 256x256 with guidance and noise": {
    run: step({ height: 32, width: 32, images: 4, rows: 8, combined: 4 }),
    atMost: {
      // 32 bytes of each image are the factors of its sum.
      llvmpipe: { passes: 37, dispatches: 126, arena: 42_065_968 },
      gpu: { passes: 2, dispatches: 120, arena: 19_896_560 },
    },
  },
  "a step of four images of 256x256 with guidance, of which two have a history": {
    run: step({ height: 32, width: 32, images: 4, rows: 8, combined: 2, slots: 2 }),
    atMost: {
      llvmpipe: { passes: 37, dispatches: 127, arena: 42_197_104 },
      gpu: { passes: 2, dispatches: 121, arena: 20_027_696 },
    },
  },
  "a step with one row that leaves out a layer": {
    run: step({ skipRows: 1, skipLayers: [1] }),
    atMost: {
      llvmpipe: { passes: 69, dispatches: 229, arena: 5_196_464 },
      gpu: { passes: 4, dispatches: 218, arena: 2_609_968 },
    },
  },
  "decoding 128x128": {
    run: decode(16),
    atMost: {
      llvmpipe: { passes: 75, dispatches: 104, arena: 9_703_488 },
      gpu: { passes: 2, dispatches: 104, arena: 8_585_216 },
    },
  },
  "decoding 360x360": {
    run: decode(45),
    atMost: {
      llvmpipe: { passes: 79, dispatches: 110, arena: 100_942_400 },
      gpu: { passes: 2, dispatches: 106, arena: 67_392_000 },
    },
  },
  "T5 on 128 tokens": {
    run: (gpu, { t5 }) => t5!.embed(new Int32Array(128), tensor(gpu, 1, 128, t5!.hiddenSize)),
    atMost: {
      llvmpipe: { passes: 11, dispatches: 18, arena: 2_309_184 },
      gpu: { passes: 1, dispatches: 18, arena: 1_376_256 },
    },
  },
  "CLIP on 24 tokens": {
    run: (gpu, { clipL }) =>
      clipL.embed(new Int32Array(24), {
        hidden: tensor(gpu, 1, 24, clipL.hiddenSize),
        pooled: tensor(gpu, 1, clipL.projectionDim),
      }),
    atMost: {
      llvmpipe: { passes: 13, dispatches: 18, arena: 160_912 },
      gpu: { passes: 2, dispatches: 18, arena: 86_032 },
    },
  },
};

async function costOf(run: Case["run"], adapter: DeviceModel): Promise<Cost> {
  const gpu = dryGpu(adapter);
  const components = await (await layOutModel(model, gpu))(gpu);
  const encoder = gpu.device.createCommandEncoder();
  let [passes, dispatches] = [0, 0];
  const beginComputePass = () => {
    passes++;
    return { ...encoder.beginComputePass(), dispatchWorkgroups: () => dispatches++ };
  };
  Object.assign(gpu.device, { createCommandEncoder: () => ({ ...encoder, beginComputePass }) });
  await run(gpu, components);
  return { passes, dispatches, arena: gpu.arena.bytes };
}

for (const [name, { run, atMost }] of Object.entries(cases)) {
  for (const [adapter, like] of Object.entries(adapters)) {
    Deno.test(`${name} costs no more than it did, on ${adapter}`, async () => {
      const cost = await costOf(run, like);
      const limit = atMost[adapter as AdapterName];
      for (const key of ["passes", "dispatches", "arena"] as const) {
        assert.ok(cost[key] <= limit[key], `${key}: ${cost[key]}, at most ${limit[key]} until now`);
      }
    });
  }
}
