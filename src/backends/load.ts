/** A described model onto the GPU: declares every network's parameters, checks all, then streams. */
import type { Gpu } from "../gpu/device.ts";
import type { Components } from "../models/sd3/components.ts";
import { ConfigError } from "../models/errors.ts";
import type { Network } from "./onnx/directory.ts";
import type { layOutOnnx, loadOnnx } from "./onnx/load.ts";
import { ClipTextModel } from "../models/sd3/text_encoders/clip.ts";
import { T5Encoder } from "../models/sd3/text_encoders/t5.ts";
import { MMDiT } from "../models/sd3/transformer/mmdit.ts";
import { VaeDecoder } from "../models/sd3/vae/decoder.ts";
import { VaeEncoder } from "../models/sd3/vae/encoder.ts";
import { type Checkpoint, openCheckpoint } from "../weights/checkpoint.ts";
import { ProblemList } from "../weights/errors.ts";
import { isQuantType } from "../gpu/quantized.ts";
import { WeightPlan, type WeightType } from "../weights/plan.ts";
import type { ModelDescription } from "../models/sd3/describe.ts";
import { WgslClip, WgslDecoder, WgslEncoder, WgslT5, WgslTransformer } from "./wgsl/components.ts";

/**
 * The second engine, as far as loading goes (`src/backends/onnx/load.ts`). Injected, so that a program that
 * does not want onnxruntime does not carry it.
 */
export interface OnnxEngine {
  readonly loadOnnx: typeof loadOnnx;
  readonly layOutOnnx: typeof layOutOnnx;
  readonly runtimeFailed: Promise<Error>;
}

export interface LoadModelOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
  /** Loads the VAE's encoder, too. */
  readonly withEncoder?: boolean | undefined;
  /** Needed where the model's description says that ONNX graphs run. */
  readonly onnx?: OnnxEngine | undefined;
  /** Of the networks on our own kernels; the VAE's are never quantised. Default: "auto". */
  readonly weightType?: WeightType | undefined;
}

const vae = "vae";

/** One network's declared parameters with the file that holds them. */
export interface Part {
  readonly plan: WeightPlan;
  readonly checkpoint: Checkpoint;
}

/** Makes components of declared networks for a device. */
export type Assemble = (gpu: Gpu) => Partial<Components>;

export interface DeclaredModel {
  readonly parts: readonly Part[];
  readonly assemble: Assemble;
}

/**
 * Opens every checkpoint of the networks that run on our own kernels, and compares all of them with
 * what the networks need.
 *
 * @throws WeightsError listing everything missing, extra or misshapen in all files
 */
export async function declareModel(
  model: ModelDescription,
  { withEncoder = false }: Pick<LoadModelOptions, "withEncoder"> = {},
): Promise<DeclaredModel> {
  const parts: Part[] = [];
  const assemblies: Assemble[] = [];
  const problems = new ProblemList();
  const declare = async (folder: string, build: (plan: WeightPlan) => Assemble) => {
    const plan = new WeightPlan(folder);
    assemblies.push(build(plan));
    try {
      const checkpoint = await openCheckpoint(model.source, folder);
      parts.push({ plan, checkpoint });
      plan.check(checkpoint);
    } catch (error) {
      problems.absorb(error);
    }
  };
  const ours = (network: Network) => model.engines.get(network) === "wgsl";
  if (ours("text_encoder")) {
    await declare("text_encoder", (plan) => {
      const network = new ClipTextModel(model.clipL, plan);
      return (gpu) => ({ clipL: new WgslClip(gpu, network, plan) });
    });
  }
  if (ours("text_encoder_2")) {
    await declare("text_encoder_2", (plan) => {
      const network = new ClipTextModel(model.clipG, plan);
      return (gpu) => ({ clipG: new WgslClip(gpu, network, plan) });
    });
  }
  const { t5 } = model;
  if (t5 && ours("text_encoder_3")) {
    await declare("text_encoder_3", (plan) => {
      const network = new T5Encoder(t5, plan);
      return (gpu) => ({ t5: new WgslT5(gpu, network, plan) });
    });
  }
  if (ours("transformer")) {
    await declare("transformer", (plan) => {
      const network = new MMDiT(model.transformer, plan);
      return (gpu) => ({ transformer: new WgslTransformer(gpu, network, plan) });
    });
  }
  const ourDecoder = ours("vae_decoder");
  const ourEncoder = withEncoder && ours("vae_encoder");
  if (ourDecoder || ourEncoder) {
    await declare(vae, (plan) => {
      const decoder = ourDecoder ? new VaeDecoder(model.vae, plan) : undefined;
      const encoder = ourEncoder ? new VaeEncoder(model.vae, plan) : undefined;
      if (!decoder) plan.ignore(/^(decoder|post_quant_conv)\./);
      if (!encoder) plan.ignore(/^(encoder|quant_conv)\./);
      return (gpu) => ({
        ...(decoder && { decoder: new WgslDecoder(gpu, decoder, plan) }),
        ...(encoder && { encoder: new WgslEncoder(gpu, encoder, plan) }),
      });
    });
  }
  problems.throwIfAny(model.info.name);
  return {
    parts,
    assemble: (gpu) => Object.assign({}, ...assemblies.map((assembly) => assembly(gpu))),
  };
}

/** Networks that ONNX graphs run, and the engine for them. */
function onnxPart(model: ModelDescription, { onnx, withEncoder }: LoadModelOptions) {
  const networks = [...model.engines].filter(([network, kind]) =>
    kind === "onnx" && (network !== "vae_encoder" || withEncoder)
  ).map(([network]) => network);
  if (networks.length === 0) return undefined;
  if (onnx) return { networks, onnx };
  throw new ConfigError(
    `${model.info.name} holds ONNX graphs only for ${
      networks.join(", ")
    }, and this program has no ` +
      "onnxruntime",
  );
}

/** Loads all networks of a model. What was loaded is freed if one fails. */
export async function loadModel(
  model: ModelDescription,
  gpu: Gpu,
  options: LoadModelOptions = {},
): Promise<Components> {
  const graphs = onnxPart(model, options);
  const { parts, assemble } = await declareModel(model, options);
  const total = parts.reduce((sum, { checkpoint }) => sum + storedBytes(checkpoint), 0);
  let before = 0;
  try {
    for (const { plan, checkpoint } of parts) {
      await plan.load(checkpoint, gpu, {
        signal: options.signal,
        weightType: typeFor(plan, options.weightType),
        onProgress: (done) => options.onProgress?.(before + done, total),
      });
      before += storedBytes(checkpoint);
    }
    const { signal } = options;
    const opened = await graphs?.onnx.loadOnnx(model, gpu, graphs.networks, { signal });
    return complete({ ...assemble(gpu), ...opened });
  } catch (error) {
    for (const { plan } of parts) plan.dispose();
    throw error;
  }
}

/**
 * The networks with their memory laid out on `gpu` and nothing in it: for planning on dry devices.
 * Returns what makes components of them for a dry device, any number of times.
 */
export async function layOutModel(
  model: ModelDescription,
  gpu: Gpu,
  options: Pick<LoadModelOptions, "onnx" | "weightType"> = {},
): Promise<(gpu: Gpu) => Promise<Components>> {
  const graphs = onnxPart(model, options);
  const { parts, assemble } = await declareModel(model, {});
  for (const { plan, checkpoint } of parts) {
    await plan.allocate(checkpoint, gpu, typeFor(plan, options.weightType));
  }
  const layOut = (other: Gpu) => graphs?.onnx.layOutOnnx(model, other, graphs.networks);
  await layOut(gpu);
  return async (other) => complete({ ...assemble(other), ...await layOut(other) });
}

/** The VAE is mostly convolutions, and what it loses is seen in the image at once. */
function typeFor(plan: WeightPlan, type: WeightType = "auto"): WeightType {
  return plan.name === vae && isQuantType(type) ? "auto" : type;
}

function complete(components: Partial<Components>): Components {
  const { clipL, clipG, t5, transformer, decoder, encoder } = components;
  if (!clipL || !clipG || !transformer || !decoder) {
    throw new Error(`Only ${Object.keys(components).join(", ")} were made`);
  }
  return { clipL, clipG, t5, transformer, decoder, encoder };
}

function storedBytes(checkpoint: Checkpoint): number {
  let bytes = 0;
  for (const { start, end } of checkpoint.tensors.values()) bytes += end - start;
  return bytes;
}
