/**
 * Finds the batch size for images of one size before requests come: made-up images go through the
 * loop, as many as fit, until `BatchLimits` has settled or the time is up.
 */
import { TorchCpuGenerator } from "../random/torch_cpu.ts";
import type { BatchLimits } from "../denoise/batch_limits.ts";
import type { StableDiffusion3Pipeline } from "../pipeline/stable_diffusion_3.ts";
import { imageTokens } from "../requests/model_info.ts";
import type { ResolvedRequest } from "../requests/types.ts";

export interface BatchTrialOptions {
  readonly limits: BatchLimits;
  /** Whose size, guidance and text length are tried. */
  readonly request: ResolvedRequest;
  /** Images there is memory for. */
  readonly images: number;
  /** Time from the end of the first step on, which also compiles. */
  readonly seconds: number;
  /** Multiply-adds a second that the adapter reaches, or 0: a step that takes longer is not tried. */
  readonly speed: () => number;
  readonly signal?: AbortSignal | undefined;
}

/** More steps than any trial does. */
const manySteps = 100_000;

export async function tryBatches(
  pipeline: StableDiffusion3Pipeline,
  { limits, request, images, seconds, speed, signal }: BatchTrialOptions,
): Promise<void> {
  const tokens = imageTokens(pipeline.model.info, request);
  const [, , height, width] = pipeline.latentShape(request.height, request.width);
  const contextLength = pipeline.contextLength(request.maxSequenceLength);
  const rows = request.guidanceScale > 1 ? 2 : 1;
  // Recorded first, so that its kernels are the first to be timed.
  const { transformer } = pipeline.components;
  await transformer.step({
    height,
    width,
    contextLength,
    images: 1,
    combined: 0,
    slots: 0,
    rows,
    skipRows: 0,
    skipLayers: [],
  });
  const expected = rows * productsOfRow(pipeline, tokens + contextLength) / speed();
  if (expected > seconds && expected < Infinity) return;

  const { text, negativeText, release } = await pipeline.embed(request, signal);
  const tensors = Array.from(
    { length: images },
    (_, k) => pipeline.initialLatents(request, new TorchCpuGenerator(k)),
  );
  const stop = new AbortController();
  const over = new Error("The trial is over");
  let deadline: number | undefined;
  const onStep = () => {
    const now = performance.now();
    deadline ??= now + 1000 * seconds;
    if (now >= deadline || limits.isSettled(tokens)) stop.abort(over);
  };
  try {
    // Steps that move nothing, so that the values stay what they are.
    const first = pipeline.schedule(request)[0]!;
    const still = { ...first, next: { sample: 1, velocity: 0 }, keep: [] };
    const steps = Array.from({ length: manySteps }, () => still);
    const results = await Promise.allSettled(tensors.map((latents) =>
      pipeline.batcher.denoise({
        latents,
        text,
        negativeText,
        guidanceScale: request.guidanceScale,
        steps,
        signal: signal ? AbortSignal.any([stop.signal, signal]) : stop.signal,
        onStep,
      })
    ));
    const failed = results.find((result) => result.status === "rejected" && result.reason !== over);
    if (failed) throw (failed as PromiseRejectedResult).reason;
    limits.conclude(tokens);
  } finally {
    release();
    pipeline.gpu.destroyTensor(...tensors);
  }
}

/** Multiply-adds of one row of a prediction, without attention's own: a lower bound. */
function productsOfRow({ model }: StableDiffusion3Pipeline, tokens: number): number {
  const { num_layers: layers, caption_projection_dim: width } = model.configs.transformer;
  // q, k, v and output 4, feed-forward 8 times width x width.
  return 12 * width ** 2 * layers * tokens;
}
