/**
 * A model on a device, answering requests: what the server's worker, the page's worker and the
 * command line open. Admission by memory happens here, so that no caller can forget it.
 */
import type { AdapterSummary, FamilyChoice } from "../gpu/adapter.ts";
import { type Gpu, openGpu } from "../gpu/device.ts";
import {
  type BackendChoice,
  type Backends,
  chooseBackends,
  inspectDirectory,
} from "../backends/choice.ts";
import type { WeightType } from "../weights/weight_type.ts";
import type { FileSource } from "../weights/source.ts";
import { Admission, type Need } from "./admission.ts";
import { BatchLimits } from "../denoise/batch_limits.ts";
import { tryBatches } from "./batch_trial.ts";
import { BusyError, InvalidRequestError } from "../requests/errors.ts";
import { loadModel, type OnnxBackend } from "../backends/load.ts";
import { openPlanner } from "./memory_budget.ts";
import type { MemoryPlan, MemoryPlanner } from "./memory_planner.ts";
import { describeModel } from "../models/mod.ts";
import { networks } from "../models/sd3/networks.ts";
import { imageTokens, type RequestRules } from "../requests/model_info.ts";
import { resolveRequest } from "../requests/request.ts";
import { type PipelineOptions, StableDiffusion3Pipeline } from "../pipeline/stable_diffusion_3.ts";
import { Tuning, type TuningOptions } from "./tuning.ts";
import type {
  AdapterReport,
  Engine,
  EngineStatus,
  GenerateOptions,
  GenerateResult,
  RequestPlan,
} from "./types.ts";
import type { GenerateRequest, ResolvedRequest } from "../requests/types.ts";

export interface EngineOptions extends Omit<PipelineOptions, "maxBatch"> {
  /** An open device; the engine takes it over. Default: a new one. */
  readonly gpu?: Gpu | undefined;
  /** Which family of kernels a new device runs. Default: `auto`, the one made for its adapter. */
  readonly kernels?: FamilyChoice | undefined;
  /** What runs the networks. Default: `auto` where `onnx` is given, else `wgsl`. */
  readonly backend?: BackendChoice | undefined;
  /** The second backend, `src/backends/onnx/load.ts`. */
  readonly onnx?: OnnxBackend | undefined;
  /** How the weights of our own networks lie in GPU memory. Default: "auto". */
  readonly weightType?: WeightType | undefined;
  /** Bytes of GPU memory that weights, arena and requests may take together. */
  readonly memoryBudget?: number | undefined;
  /** Requests that may wait for memory before further ones are refused. */
  readonly maxWaiting?: number | undefined;
  /** Most images in one step. Default: measured, see `BatchLimits`. */
  readonly maxBatch?: number | undefined;
  /** Has kernels and batch sizes chosen by timing them. Default: kernels by the kind of adapter. */
  readonly tuning?: TuningOptions | undefined;
  /** Bits of the SIMD vectors that the driver was asked for, for status and tuning. */
  readonly vectorBits?: number | undefined;
  /** Bytes of the checkpoint read so far, and of all of it. */
  readonly onLoadProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const defaultWaiting = 64;
/** What requests may add to the weights where no budget is given. */
const defaultHeadroom = 8 * 2 ** 30;

/**
 * Opens a device, loads the model in `source` and waits for requests.
 * @throws {ConfigError} if there is no such model, or it is of a kind that cannot be used
 * @throws {WeightsError} listing everything wrong with its weights
 * @throws {OutOfDeviceMemoryError} if it cannot fit the budget, saying what would
 */
export async function openEngine(source: FileSource, options: EngineOptions = {}): Promise<Engine> {
  let tuning: Tuning | undefined;
  const limits = new BatchLimits({
    ceiling: options.maxBatch,
    fixed: options.maxBatch !== undefined,
    known: (tokens) => tuning?.batch(tokens),
    onSettled: (tokens, entry) => tuning?.keepBatch(tokens, entry),
  });
  const described = await describeModel(source);
  const choice = options.backend ?? (options.onnx ? "auto" : "wgsl");
  const backends = chooseBackends(await inspectDirectory(source), choice);
  const backend = backends.get("transformer");
  const model = { ...described, info: { ...described.info, skipsLayers: backend === "wgsl" } };
  const gpu = options.gpu ?? await openGpu({ kernels: options.kernels });
  try {
    const planner = await openPlanner(model, gpu, { ...options, backends });
    if (options.tuning) {
      tuning = await Tuning.open(gpu, model, {
        ...options.tuning,
        vectorBits: options.vectorBits,
        backend,
      });
    }
    const components = await loadModel(model, gpu, {
      signal: options.signal,
      onProgress: options.onLoadProgress,
      onnx: options.onnx,
      weightType: options.weightType,
      backends,
    });
    const pipeline = new StableDiffusion3Pipeline(gpu, model, components, {
      ...options,
      maxBatch: limits.limit,
      onTurn: (turn) => {
        limits.observe(turn);
        options.onTurn?.(turn);
      },
    });
    const engine = new LocalEngine(gpu, pipeline, planner, limits, tuning, {
      ...options,
      backends,
    });
    await engine.planDefault();
    if (tuning) await engine.measureBatches(tuning, options.signal);
    return engine;
  } catch (error) {
    gpu.destroy();
    throw error;
  }
}

class LocalEngine implements Engine {
  readonly closed: Promise<Error | undefined>;
  readonly #gpu: Gpu;
  readonly #pipeline: StableDiffusion3Pipeline;
  readonly #planner: MemoryPlanner;
  readonly #limits: BatchLimits;
  readonly #tuning: Tuning | undefined;
  readonly #admission: Admission;
  readonly #vectorBits: number | undefined;
  readonly #weightType: WeightType;
  readonly #backends: Backends;
  readonly #closing = new AbortController();
  readonly #close = Promise.withResolvers<undefined>();
  readonly #running = new Set<Promise<unknown>>();
  #total = 0;
  #active = 0;
  #defaultRequest: RequestPlan = { share: 0, arena: 0, maxBatch: 1 };

  constructor(
    gpu: Gpu,
    pipeline: StableDiffusion3Pipeline,
    planner: MemoryPlanner,
    limits: BatchLimits,
    tuning: Tuning | undefined,
    options: EngineOptions & { readonly backends: Backends },
  ) {
    const { promptCache } = pipeline;
    this.#gpu = gpu;
    this.#pipeline = pipeline;
    this.#planner = planner;
    this.#limits = limits;
    this.#tuning = tuning;
    this.#admission = new Admission({
      budget: options.memoryBudget ?? planner.weights + defaultHeadroom,
      maxWaiting: options.maxWaiting ?? defaultWaiting,
      idleBytes: () => promptCache.idleBytes,
      trim: (bytes) => promptCache.trim(bytes),
    });
    this.#vectorBits = options.vectorBits;
    this.#weightType = options.weightType ?? "auto";
    this.#backends = options.backends;
    const failures = options.onnx ? [options.onnx.runtimeFailed] : [];
    this.closed = Promise.race([this.#close.promise, gpu.lost, ...failures]);
  }

  get #rules(): RequestRules {
    return { model: this.#pipeline.model.info, limits: this.#pipeline.limits };
  }

  /** Measures what a request of the default size takes, for the status; nothing if it cannot run. */
  async planDefault(): Promise<void> {
    const request = resolveRequest({ prompt: "" }, this.#rules);
    const plan = await this.#planIfPossible(request);
    if (!plan) return;
    this.#defaultRequest = {
      share: plan.share,
      arena: this.#planner.arenaWith(plan),
      maxBatch: plan.maxBatch,
    };
  }

  /**
   * Finds the batch size for the default request, unless it is known. Nobody waits for the engine's
   * answers yet, so that nobody is disturbed.
   */
  async measureBatches(tuning: Tuning, signal?: AbortSignal): Promise<void> {
    const asked = { prompt: "", ...tuning.request };
    const request = resolveRequest(asked, this.#rules);
    const tokens = this.#tokens(request);
    if (tuning.batchSeconds <= 0 || this.#limits.isSettled(tokens)) return;
    const plan = await this.#planIfPossible(request);
    if (!plan) return;
    const room = this.#admission.budget - this.#planner.baseWith(plan);
    const images = Math.min(plan.maxBatch, Math.floor(room / plan.share));
    if (images < 1) return;
    const leave = await this.#admission.admit(
      { ...this.#need(plan), share: images * plan.share },
      { signal },
    );
    try {
      await tryBatches(this.#pipeline, {
        limits: this.#limits,
        request,
        images,
        seconds: tuning.batchSeconds,
        speed: () => tuning.speed,
        signal,
      });
    } finally {
      leave();
    }
  }

  async generate(request: GenerateRequest, options?: GenerateOptions): Promise<GenerateResult> {
    return await this.run(resolveRequest(request, this.#rules), options);
  }

  run(request: ResolvedRequest, options: GenerateOptions = {}): Promise<GenerateResult> {
    const result = this.#run(request, options);
    const ended = result.catch(() => {}).finally(() => this.#running.delete(ended));
    this.#running.add(ended);
    return result;
  }

  async #run(request: ResolvedRequest, options: GenerateOptions): Promise<GenerateResult> {
    const started = performance.now();
    this.#total++;
    const closing = this.#closing.signal;
    const signal = options.signal ? AbortSignal.any([options.signal, closing]) : closing;
    signal.throwIfAborted();
    const steps = this.#pipeline.schedule(request);
    const previews = Boolean(options.previewEvery && options.onProgress);
    const plan = await this.#plan(request, previews, steps);
    const { onProgress } = options;
    const leave = await this.#admission.admit(this.#need(plan), { signal, onProgress });
    const queued = (performance.now() - started) / 1000;
    this.#active++;
    try {
      onProgress?.({ type: "queued", position: 0 });
      const result = await this.#pipeline.run(request, steps, { ...options, signal });
      const { timings } = result;
      return { ...result, timings: { ...timings, queued, total: queued + timings.total } };
    } finally {
      this.#active--;
      leave();
    }
  }

  status(): EngineStatus {
    const { ledger } = this.#gpu;
    const { hits, misses } = this.#pipeline.promptCache;
    return {
      ...this.#rules,
      backends: Object.fromEntries(
        [...this.#backends].map(([network, kind]) => [networks[network].name, kind]),
      ),
      weightType: this.#weightType,
      kernels: this.#gpu.family,
      memory: {
        weights: ledger.bytes("weights"),
        arena: ledger.bytes("arena") + ledger.bytes("other"),
        requests: ledger.bytes("requests"),
        cache: ledger.bytes("cache"),
        budget: this.#admission.budget,
      },
      adapter: reportAdapter(this.#gpu.adapter, this.#gpu.device, this.#vectorBits),
      requests: { total: this.#total, active: this.#active, waiting: this.#admission.waiting },
      promptCache: { hits, misses },
      defaultRequest: this.#defaultRequest,
      ...(this.#tuning && { tuning: this.#tuning.report(this.#limits) }),
    };
  }

  /** Ends all requests with `BusyError`, then frees the device. */
  async close(): Promise<void> {
    const reason = new BusyError("The engine is closing");
    this.#admission.close(reason);
    this.#closing.abort(reason);
    await Promise.all(this.#running);
    await this.#tuning?.saved();
    this.#pipeline.dispose();
    this.#gpu.destroy();
    this.#close.resolve(undefined);
    await this.#gpu.lost;
  }

  #plan(
    request: ResolvedRequest,
    previews: boolean,
    steps = this.#pipeline.schedule(request),
  ): Promise<MemoryPlan> {
    return this.#planner.plan(request, {
      steps,
      maxBatch: this.#limits.most(this.#tokens(request)),
      budget: this.#admission.budget - this.#pipeline.promptCache.pinnedBytes,
      previews,
    });
  }

  /** Nothing for a request that the device cannot run: smaller images may still be made. */
  #planIfPossible(request: ResolvedRequest): Promise<MemoryPlan | undefined> {
    return this.#plan(request, false).catch((error) => {
      if (error instanceof InvalidRequestError) return undefined;
      throw error;
    });
  }

  #need(plan: MemoryPlan): Need {
    return {
      base: () => this.#planner.baseWith(plan) + this.#pipeline.promptCache.pinnedBytes,
      share: plan.share,
      onAdmitted: () => {
        this.#planner.commit(plan);
        this.#limits.bound(plan.tokens, plan.maxBatch);
      },
    };
  }

  #tokens(request: ResolvedRequest): number {
    return imageTokens(this.#pipeline.model.info, request);
  }
}

function reportAdapter(
  { vendor, architecture, description }: AdapterSummary,
  device: GPUDevice,
  vectorBits?: number,
): AdapterReport {
  return {
    vendor,
    architecture,
    description,
    features: [...device.features].sort(),
    ...(vectorBits !== undefined && { vectorBits }),
  };
}
