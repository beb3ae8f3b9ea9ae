/** A described model onto the GPU: declares every network's parameters, checks all, then streams. */
import { isQuantType } from "../gpu/quantized.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Components } from "../models/sd3/components.ts";
import { ConfigError } from "../models/errors.ts";
import type { ModelDescription } from "../models/sd3/describe.ts";
import { type Network, networkList, networks, networksByFolder } from "../models/sd3/networks.ts";
import type { Checkpoint } from "../weights/checkpoint.ts";
import { openCheckpoint } from "../weights/layouts/mod.ts";
import { storedBytes } from "../weights/tensors.ts";
import { ProblemList } from "../weights/errors.ts";
import { DeclaredWeights } from "../weights/declared.ts";
import type { WeightType } from "../weights/weight_type.ts";
import type { Backends } from "./choice.ts";
import type { layOutOnnx, loadOnnx } from "./onnx/load.ts";
import { makeComponent } from "./wgsl/mod.ts";

/**
 * The second backend, as far as loading goes (`src/backends/onnx/load.ts`). Injected, so that a
 * program that does not want onnxruntime does not carry it.
 */
export interface OnnxBackend {
  readonly loadOnnx: typeof loadOnnx;
  readonly layOutOnnx: typeof layOutOnnx;
  readonly runtimeFailed: Promise<Error>;
}

export interface PlacementOptions {
  /** Which backend runs each network. Default: our own kernels. */
  readonly backends?: Backends | undefined;
  /** Needed where `backends` says that ONNX graphs run. */
  readonly onnx?: OnnxBackend | undefined;
  /** Of the networks on our own kernels; the VAE's are never quantised. Default: "auto". */
  readonly weightType?: WeightType | undefined;
}

export interface LoadModelOptions extends PlacementOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
  /** Networks to load of those that are loaded only where they are asked for. */
  readonly onDemand?: readonly Network[] | undefined;
}

/** The declared parameters of networks that share a file, with that file. */
interface Part {
  readonly weights: DeclaredWeights;
  readonly checkpoint: Checkpoint;
  readonly quantizable: boolean;
}

/** Makes components of declared networks for a device. */
type Assemble = (gpu: Gpu) => Partial<Components>;

/**
 * Opens the checkpoints of networks on our own kernels, and compares them with what these need.
 *
 * @param wanted default: all that the model has
 * @throws {WeightsError} listing everything missing, extra or misshapen in all files
 */
export async function declareModel(
  model: ModelDescription,
  wanted: ReadonlySet<Network> = new Set(networkList.map(([network]) => network)),
): Promise<{ readonly parts: readonly Part[]; readonly assemble: Assemble }> {
  const parts: Part[] = [];
  const assemblies: ((gpu: Gpu) => [Network, Components[Network]])[] = [];
  const problems = new ProblemList();
  for (const [folder, rows] of networksByFolder) {
    const taken = rows.filter(([network]) => wanted.has(network) && model.configs[network]);
    if (taken.length === 0) continue;
    const weights = new DeclaredWeights(folder);
    for (const [network, row] of taken) {
      const declared = row.declare(model.configs[network]!, weights);
      assemblies.push((gpu) => [network, makeComponent(gpu, row.kind, declared, weights)]);
    }
    for (const [network, { owns }] of rows) {
      if (owns && !wanted.has(network)) weights.ignore(owns);
    }
    try {
      const checkpoint = await openCheckpoint(model.source, folder);
      parts.push({ weights, checkpoint, quantizable: taken.every(([, row]) => row.quantizable) });
      weights.check(checkpoint);
    } catch (error) {
      problems.absorb(error);
    }
  }
  problems.throwIfAny(model.info.name);
  return { parts, assemble: (gpu) => Object.fromEntries(assemblies.map((make) => make(gpu))) };
}

/** The networks of each backend, of those that the model has and that are asked for. */
function place(model: ModelDescription, { backends, onnx, onDemand: asked }: LoadModelOptions) {
  const present = networkList.filter(([network, { onDemand }]) =>
    model.configs[network] && (!onDemand || asked?.includes(network))
  ).map(([network]) => network);
  const isGraph = (network: Network) => backends?.get(network) === "onnx";
  const graphs = present.filter(isGraph);
  if (graphs.length > 0 && !onnx) {
    const names = graphs.map((network) => networks[network].name).join(", ");
    throw new ConfigError(
      `${model.info.name} holds ONNX graphs only for ${names}, and this program has no onnxruntime`,
    );
  }
  return { graphs, own: new Set(present.filter((network) => !isGraph(network))) };
}

/**
 * Loads all networks of a model. What was loaded is freed if one fails.
 *
 * @throws {WeightsError} listing everything missing, extra or misshapen in all files
 */
export async function loadModel(
  model: ModelDescription,
  gpu: Gpu,
  options: LoadModelOptions = {},
): Promise<Components> {
  const { signal, onnx } = options;
  const { graphs, own } = place(model, options);
  const { parts, assemble } = await declareModel(model, own);
  const total = parts.reduce((sum, { checkpoint }) => sum + bytesOf(checkpoint), 0);
  let before = 0;
  try {
    for (const part of parts) {
      await part.weights.load(part.checkpoint, gpu, {
        signal,
        weightType: typeFor(part, options.weightType),
        onProgress: (done) => options.onProgress?.(before + done, total),
      });
      before += bytesOf(part.checkpoint);
    }
    const opened = await onnx?.loadOnnx(model, gpu, graphs, { signal });
    return { ...assemble(gpu), ...opened } as Components;
  } catch (error) {
    for (const { weights } of parts) weights.dispose();
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
  options: PlacementOptions & Pick<LoadModelOptions, "onDemand"> = {},
): Promise<(gpu: Gpu) => Promise<Components>> {
  const { graphs, own } = place(model, options);
  const { parts, assemble } = await declareModel(model, own);
  for (const part of parts) {
    await part.weights.allocate(part.checkpoint, gpu, typeFor(part, options.weightType));
  }
  const layOut = (other: Gpu) => options.onnx?.layOutOnnx(model, other, graphs);
  await layOut(gpu);
  return async (other) => ({ ...assemble(other), ...await layOut(other) }) as Components;
}

function typeFor({ quantizable }: Part, type: WeightType = "auto"): WeightType {
  return !quantizable && isQuantType(type) ? "auto" : type;
}

function bytesOf({ tensors }: Checkpoint): number {
  return tensors.values().reduce((sum, tensor) => sum + storedBytes(tensor), 0);
}
