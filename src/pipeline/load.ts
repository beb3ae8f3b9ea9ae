/** A described model onto the GPU: declares every network's parameters, checks all, then streams. */
import type { Gpu } from "../gpu/device.ts";
import type {
  ClipComponent,
  DecoderComponent,
  EncoderComponent,
  T5Component,
  TransformerComponent,
} from "../models/components.ts";
import { ClipTextModel } from "../text_encoders/clip.ts";
import { T5Encoder } from "../text_encoders/t5.ts";
import { MMDiT } from "../transformer/mmdit.ts";
import { VaeDecoder } from "../vae/decoder.ts";
import { VaeEncoder } from "../vae/encoder.ts";
import { type Checkpoint, openCheckpoint } from "../weights/checkpoint.ts";
import { ProblemList } from "../weights/errors.ts";
import { WeightPlan } from "../weights/plan.ts";
import type { ModelDescription } from "./model.ts";
import { WgslClip, WgslDecoder, WgslEncoder, WgslT5, WgslTransformer } from "./wgsl_components.ts";

export interface Components {
  readonly clipL: ClipComponent;
  readonly clipG: ClipComponent;
  readonly t5: T5Component | undefined;
  readonly transformer: TransformerComponent;
  readonly decoder: DecoderComponent;
  /** Only where it was asked for: generating from text does not need it. */
  readonly encoder: EncoderComponent | undefined;
}

export interface LoadModelOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
  /** Loads the VAE's encoder, too. */
  readonly withEncoder?: boolean | undefined;
}

/** One network's declared parameters with the file that holds them. */
export interface Part {
  readonly folder: string;
  readonly plan: WeightPlan;
  readonly checkpoint: Checkpoint;
}

/** The networks of a model with their parameters declared and their files found, nothing loaded. */
export interface DeclaredModel {
  readonly clipL: ClipTextModel;
  readonly clipG: ClipTextModel;
  readonly t5: T5Encoder | undefined;
  readonly transformer: MMDiT;
  readonly decoder: VaeDecoder;
  readonly encoder: VaeEncoder | undefined;
  readonly parts: readonly Part[];
}

/**
 * Opens every checkpoint of the model and compares all of them with what the networks need.
 *
 * @throws WeightsError listing everything missing, extra or misshapen in all files
 */
export async function declareModel(
  model: ModelDescription,
  { withEncoder = false }: { withEncoder?: boolean | undefined } = {},
): Promise<DeclaredModel> {
  const parts: Part[] = [];
  const problems = new ProblemList();
  const declare = async <T>(folder: string, build: (plan: WeightPlan) => T): Promise<T> => {
    const plan = new WeightPlan(folder);
    const network = build(plan);
    try {
      const checkpoint = await openCheckpoint(model.source, folder);
      parts.push({ folder, plan, checkpoint });
      plan.check(checkpoint);
    } catch (error) {
      problems.absorb(error);
    }
    return network;
  };
  const clipL = await declare("text_encoder", (plan) => new ClipTextModel(model.clipL, plan));
  const clipG = await declare("text_encoder_2", (plan) => new ClipTextModel(model.clipG, plan));
  const { t5: t5Config } = model;
  const t5 = t5Config &&
    await declare("text_encoder_3", (plan) => new T5Encoder(t5Config, plan));
  const transformer = await declare("transformer", (plan) => new MMDiT(model.transformer, plan));
  const [decoder, encoder] = await declare("vae", (plan) => {
    const made = new VaeDecoder(model.vae, plan);
    if (withEncoder) return [made, new VaeEncoder(model.vae, plan)] as const;
    plan.ignore(/^(encoder|quant_conv)\./);
    return [made, undefined] as const;
  });
  problems.throwIfAny(model.info.name);
  return { clipL, clipG, t5, transformer, decoder, encoder, parts };
}

/** Loads all networks of a model on our own kernels. What was loaded is freed if one fails. */
export async function loadModel(
  model: ModelDescription,
  gpu: Gpu,
  options: LoadModelOptions = {},
): Promise<Components> {
  const declared = await declareModel(model, options);
  const total = declared.parts.reduce((sum, { checkpoint }) => sum + storedBytes(checkpoint), 0);
  let before = 0;
  try {
    for (const { plan, checkpoint } of declared.parts) {
      await plan.load(checkpoint, gpu, {
        signal: options.signal,
        onProgress: (done) => options.onProgress?.(before + done, total),
      });
      before += storedBytes(checkpoint);
    }
  } catch (error) {
    for (const { plan } of declared.parts) plan.dispose();
    throw error;
  }
  return assemble(declared, gpu);
}

/**
 * The networks with their memory laid out on `gpu` and nothing in it: for planning on dry devices.
 * Returns what makes components of them for a dry device, any number of times.
 */
export async function layOutModel(
  model: ModelDescription,
  gpu: Gpu,
): Promise<(gpu: Gpu) => Components> {
  const declared = await declareModel(model);
  for (const { plan, checkpoint } of declared.parts) await plan.allocate(checkpoint, gpu);
  return (other) => assemble(declared, other);
}

function assemble(declared: DeclaredModel, gpu: Gpu): Components {
  const plan = (folder: string) => declared.parts.find((part) => part.folder === folder)!.plan;
  return {
    clipL: new WgslClip(gpu, declared.clipL, plan("text_encoder")),
    clipG: new WgslClip(gpu, declared.clipG, plan("text_encoder_2")),
    t5: declared.t5 && new WgslT5(gpu, declared.t5, plan("text_encoder_3")),
    transformer: new WgslTransformer(gpu, declared.transformer, plan("transformer")),
    decoder: new WgslDecoder(gpu, declared.decoder, plan("vae")),
    encoder: declared.encoder && new WgslEncoder(gpu, declared.encoder, plan("vae")),
  };
}

function storedBytes(checkpoint: Checkpoint): number {
  let bytes = 0;
  for (const { start, end } of checkpoint.tensors.values()) bytes += end - start;
  return bytes;
}
