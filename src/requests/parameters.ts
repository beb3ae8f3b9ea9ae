import type { ResolvedRequest } from "./types.ts";

/** What a request came to, as JSON in diffusers' words. */
export function toParameters(resolved: ResolvedRequest): Record<string, unknown> {
  const { skipLayerGuidance: skip } = resolved;
  return {
    prompt: resolved.prompt,
    prompt_2: resolved.prompt2,
    prompt_3: resolved.prompt3,
    negative_prompt: resolved.negativePrompt,
    negative_prompt_2: resolved.negativePrompt2,
    negative_prompt_3: resolved.negativePrompt3,
    height: resolved.height,
    width: resolved.width,
    num_inference_steps: resolved.numInferenceSteps,
    guidance_scale: resolved.guidanceScale,
    ...(resolved.sigmas && { sigmas: resolved.sigmas }),
    num_images_per_prompt: resolved.numImagesPerPrompt,
    max_sequence_length: resolved.maxSequenceLength,
    seed: resolved.seed,
    ...(skip && {
      skip_guidance_layers: skip.layers,
      skip_layer_guidance_scale: skip.scale,
      skip_layer_guidance_start: skip.start,
      skip_layer_guidance_stop: skip.stop,
    }),
  };
}
