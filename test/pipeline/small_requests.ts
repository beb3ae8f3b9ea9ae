/** Small requests of every kind that a batch can mix, and a pipeline that makes them. */
import { createHash } from "node:crypto";
import { openFixture } from "../golden/fixture.ts";
import type { TurnReport } from "../../src/denoise/batcher.ts";
import {
  type PipelineOptions,
  StableDiffusion3Pipeline,
} from "../../src/pipeline/stable_diffusion_3.ts";
import type { GenerateRequest } from "../../src/requests/types.ts";
import type { GenerateResult } from "../../src/engine/types.ts";
import { encodePng } from "../../src/image/png.ts";
import { FlowMatchEulerDiscreteScheduler } from "../../src/schedulers/flow_match_euler.ts";

const base = { height: 32, width: 32, maxSequenceLength: 8, numInferenceSteps: 3 };

/** What a batch can mix. All but the last two share one latent size. */
export const requests: readonly GenerateRequest[] = [
  { ...base, prompt: "a red heart", seed: 1, guidanceScale: 4 },
  { ...base, prompt: "a blue star", seed: 2, guidanceScale: 1 },
  { ...base, prompt: "a green ring", seed: 3, guidanceScale: 7, numInferenceSteps: 4, clipSkip: 1 },
  {
    ...base,
    prompt: "a yellow cross",
    negativePrompt: "blue",
    seed: 4,
    guidanceScale: 3,
    numImagesPerPrompt: 2,
  },
  {
    ...base,
    prompt: "a red square",
    seed: 5,
    guidanceScale: 5,
    numInferenceSteps: 4,
    skipGuidanceLayers: [2, 3],
    skipLayerGuidanceStart: 0.2,
    skipLayerGuidanceStop: 0.8,
  },
  { ...base, prompt: "a black dot", seed: 6, guidanceScale: 1, numInferenceSteps: 2 },
  { ...base, prompt: "a red heart", seed: 7, guidanceScale: 4, height: 48 },
  { ...base, prompt: "a white moon", seed: 8, guidanceScale: 2, maxSequenceLength: 12 },
];

const fixture = await openFixture();
const { gpu, components } = fixture;
const { scheduler } = fixture.model;

/** Turns since the last `reset`, and the largest batch from now on. */
export const loop = {
  turns: [] as TurnReport[],
  maxBatch: 8,
  reset(maxBatch: number) {
    this.turns.length = 0;
    this.maxBatch = maxBatch;
  },
};

export { components, gpu };
export const model = fixture.model;
/** The same model with a scheduler that adds fresh noise at every step. */
export const stochasticModel = {
  ...model,
  scheduler: new FlowMatchEulerDiscreteScheduler({
    ...scheduler.config,
    stochastic_sampling: true,
  }),
};

export function openPipeline(
  of = model,
  parts = components,
  options: Pick<PipelineOptions, "recordAhead"> = {},
): StableDiffusion3Pipeline {
  return new StableDiffusion3Pipeline(gpu, of, parts, {
    ...options,
    maxBatch: () => loop.maxBatch,
    onTurn: (turn) => loop.turns.push(turn),
  });
}

/** SHA-256 of each PNG file of a result. */
export function pngs({ images }: GenerateResult): string {
  return images.map((image) => createHash("sha256").update(encodePng(image)).digest("hex")).join();
}
