/**
 * StableDiffusion3Pipeline in f64 on the f64 networks: `encode_prompt`, guidance, Euler steps and
 * decoding as diffusers' `pipeline_stable_diffusion_3.py` writes them. Token ids, initial noise and
 * the schedule come from outside.
 */
import { clipReference } from "../reference/networks/clip.ts";
import { transformerReference } from "../reference/networks/mmdit.ts";
import { t5Reference } from "../reference/networks/t5.ts";
import { decodeReference } from "../reference/networks/vae.ts";
import type { MadeModel } from "./make_model.ts";

export interface Ids {
  readonly clipL: ArrayLike<number>;
  readonly clipG: ArrayLike<number>;
  readonly t5: ArrayLike<number>;
}

export interface ReferenceRun {
  readonly ids: Ids;
  readonly negativeIds: Ids;
  readonly guidanceScale: number;
  /** sigma of every step and a last 0; timesteps are sigma * 1000. */
  readonly sigmas: readonly number[];
  /** Initial noise [C, height, width] in latents. */
  readonly noise: ArrayLike<number>;
  readonly height: number;
  readonly width: number;
  /** Stochastic sampling: fresh noise for each step. */
  readonly drawNoise?: () => ArrayLike<number>;
  /** `clip_skip`. */
  readonly clipSkip?: number;
  /** Skip-layer guidance, at these steps. */
  readonly skip?: {
    readonly layers: readonly number[];
    readonly scale: number;
    readonly steps: readonly number[];
  };
}

/** Pixels [H, W, 3], rounded as diffusers' image processor rounds. */
export function referenceImage(model: MadeModel, run: ReferenceRun): Uint8Array {
  const { sigmas, guidanceScale, height, width, skip, drawNoise } = run;
  const { transformer, vae } = model.configs;
  const prompts = [encode(model, run.ids, run.clipSkip), encode(model, run.negativeIds)] as const;
  let latents = Float64Array.from(run.noise);
  const predict = (
    sigma: number,
    [context, pooled]: typeof prompts[number],
    skipLayers: readonly number[] = [],
  ) =>
    transformerReference(model.weights("transformer"), transformer, {
      latents,
      height,
      width,
      timestep: sigma * 1000,
      context,
      pooled,
      skipLayers,
    });
  for (let i = 0; i + 1 < sigmas.length; i++) {
    const [sigma, next] = [sigmas[i]!, sigmas[i + 1]!];
    const text = predict(sigma, prompts[0]);
    let velocity = guidanceScale > 1
      ? predict(sigma, prompts[1]).map((none, j) => none + guidanceScale * (text[j]! - none))
      : text;
    if (skip?.steps.includes(i)) {
      const without = predict(sigma, prompts[0], skip.layers);
      velocity = velocity.map((v, j) => v + skip.scale * (text[j]! - without[j]!));
    }
    const noise = drawNoise?.();
    latents = noise
      ? latents.map((x, j) => (1 - next) * (x - sigma * velocity[j]!) + next * noise[j]!)
      : latents.map((x, j) => x + (next - sigma) * velocity[j]!);
  }
  const image = decodeReference(model.weights("vae"), vae, {
    data: latents.map((x) => x / vae.scaling_factor + vae.shift_factor),
    channels: vae.latent_channels,
    height,
    width,
  });
  const pixels = image.height * image.width;
  return Uint8Array.from({ length: 3 * pixels }, (_, i) => {
    const value = image.data[i % 3 * pixels + Math.floor(i / 3)]!;
    return Math.round(Math.min(1, Math.max(0, value / 2 + 0.5)) * 255);
  });
}

/** `prompt_embeds` and `pooled_prompt_embeds`. */
function encode(
  { configs, weights }: MadeModel,
  ids: Ids,
  clipSkip = 0,
): [Float64Array, Float64Array] {
  const width = configs.transformer.joint_attention_dim;
  const l = clipReference(weights("text_encoder"), configs.clipL, ids.clipL);
  const g = clipReference(weights("text_encoder_2"), configs.clipG, ids.clipG);
  const clipLength = ids.clipL.length;
  // Without T5 diffusers puts zeros of CLIP's length in its place.
  const t5Length = configs.t5 ? ids.t5.length : clipLength;
  const context = new Float64Array((clipLength + t5Length) * width);
  const [cl, cg] = [configs.clipL.hidden_size, configs.clipG.hidden_size];
  const [hl, hg] = [l, g].map(({ hiddenStates }) => hiddenStates.at(-(clipSkip + 2))!);
  for (let t = 0; t < clipLength; t++) {
    for (let i = 0; i < cl; i++) context[t * width + i] = hl![t * cl + i]!;
    for (let i = 0; i < cg; i++) context[t * width + cl + i] = hg![t * cg + i]!;
  }
  if (configs.t5) {
    context.set(t5Reference(weights("text_encoder_3"), configs.t5, ids.t5), clipLength * width);
  }
  return [context, Float64Array.from([...l.textEmbeds, ...g.textEmbeds])];
}
