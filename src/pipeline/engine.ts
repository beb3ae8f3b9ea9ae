/**
 * A model on a device, answering requests: what the server's worker, the page's worker and the
 * command line open. Admission by memory happens here, so that no caller can forget it.
 */
import { type AdapterSummary, type Gpu, openGpu } from "../gpu/device.ts";
import type { FileSource } from "../weights/source.ts";
import { BusyError, InvalidRequestError } from "./errors.ts";
import { loadModel } from "./load.ts";
import { MemoryPlanner } from "./memory_planner.ts";
import { describeModel } from "./model.ts";
import { resolveRequest } from "./request.ts";
import { RequestScopedPipeline } from "./request_scoped.ts";
import { type PipelineOptions, StableDiffusion3Pipeline } from "./stable_diffusion_3.ts";
import type {
  AdapterReport,
  Engine,
  EngineStatus,
  GenerateOptions,
  GenerateRequest,
  GenerateResult,
} from "./types.ts";

export interface EngineOptions extends PipelineOptions {
  /** An open device; the engine takes it over. Default: a new one. */
  readonly gpu?: Gpu | undefined;
  /** Bytes of GPU memory that weights, arena and requests may take together. */
  readonly memoryBudget?: number | undefined;
  /** Requests that may wait for memory before further ones are refused. */
  readonly maxWaiting?: number | undefined;
  /** Bits of the SIMD vectors that the driver was asked for, for the status. */
  readonly vectorBits?: number | undefined;
  /** Bytes of the checkpoint read so far, and of all of it. */
  readonly onLoadProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const defaultWaiting = 64;
const defaultMaxBatch = 8;
/** What requests may add to the weights where no budget is given. */
const defaultHeadroom = 8 * 2 ** 30;

/** Opens a device, loads the model in `source` and waits for requests. */
export async function openEngine(source: FileSource, options: EngineOptions = {}): Promise<Engine> {
  const model = await describeModel(source);
  const gpu = options.gpu ?? await openGpu();
  try {
    const maxBatch = options.maxBatch ?? (() => defaultMaxBatch);
    const components = await loadModel(model, gpu, {
      signal: options.signal,
      onProgress: options.onLoadProgress,
    });
    const pipeline = new StableDiffusion3Pipeline(gpu, model, components, { ...options, maxBatch });
    const planner = await MemoryPlanner.open(model, { like: gpu, maxBatch });
    return new LocalEngine(gpu, pipeline, planner, options);
  } catch (error) {
    gpu.destroy();
    throw error;
  }
}

/** A request that memory has no room for yet. */
interface Waiting {
  /** Bytes the engine needs free: for the arena to grow to, and for the request alone. */
  readonly arena: number;
  readonly share: number;
  readonly admitted: PromiseWithResolvers<void>;
  readonly onProgress: GenerateOptions["onProgress"];
}

class LocalEngine implements Engine {
  readonly closed: Promise<Error | undefined>;
  readonly #gpu: Gpu;
  readonly #pipeline: StableDiffusion3Pipeline;
  readonly #scoped: RequestScopedPipeline<StableDiffusion3Pipeline>;
  readonly #planner: MemoryPlanner;
  readonly #budget: number;
  readonly #maxWaiting: number;
  readonly #vectorBits: number | undefined;
  readonly #waiting: Waiting[] = [];
  readonly #close = Promise.withResolvers<undefined>();
  #total = 0;
  #active = 0;
  /** Arena that admitted requests may need, and what they hold alone. */
  #arena = 0;
  #reserved = 0;

  constructor(
    gpu: Gpu,
    pipeline: StableDiffusion3Pipeline,
    planner: MemoryPlanner,
    options: EngineOptions,
  ) {
    this.#gpu = gpu;
    this.#pipeline = pipeline;
    this.#scoped = new RequestScopedPipeline(pipeline);
    this.#planner = planner;
    this.#budget = options.memoryBudget ?? gpu.ledger.bytes("weights") + defaultHeadroom;
    this.#maxWaiting = options.maxWaiting ?? defaultWaiting;
    this.#vectorBits = options.vectorBits;
    this.closed = Promise.race([this.#close.promise, gpu.lost]);
  }

  async generate(request: GenerateRequest, options: GenerateOptions = {}): Promise<GenerateResult> {
    const started = performance.now();
    this.#total++;
    options.signal?.throwIfAborted();
    const resolved = resolveRequest(request, this.#pipeline.model.info);
    const { arena, share } = await this.#planner.plan(resolved);
    await this.#admit(arena, share, options);
    const queued = (performance.now() - started) / 1000;
    this.#active++;
    try {
      const result = await this.#scoped.generate(resolved, options);
      const { timings } = result;
      return { ...result, timings: { ...timings, queued, total: queued + timings.total } };
    } finally {
      this.#active--;
      this.#reserved -= share;
      this.#admitNext();
    }
  }

  status(): EngineStatus {
    const { ledger } = this.#gpu;
    return {
      model: this.#pipeline.model.info,
      memory: {
        weights: ledger.bytes("weights"),
        arena: ledger.bytes("arena") + ledger.bytes("other"),
        requests: ledger.bytes("requests"),
        cache: ledger.bytes("cache"),
        budget: this.#budget,
      },
      adapter: reportAdapter(this.#gpu.adapter, this.#gpu.device, this.#vectorBits),
      requests: { total: this.#total, active: this.#active, waiting: this.#waiting.length },
    };
  }

  async close(): Promise<void> {
    for (const { admitted } of this.#waiting.splice(0)) {
      admitted.reject(new BusyError("The engine is closing"));
    }
    this.#pipeline.dispose();
    this.#gpu.destroy();
    this.#close.resolve(undefined);
    await this.#gpu.lost;
  }

  #fits(arena: number, share: number): boolean {
    const { ledger } = this.#gpu;
    return ledger.bytes("weights") + Math.max(arena, this.#arena) + this.#reserved + share <=
      this.#budget;
  }

  /** Takes the request's memory, waiting in line for it where others hold it. */
  async #admit(arena: number, share: number, { signal, onProgress }: GenerateOptions) {
    if (this.#gpu.ledger.bytes("weights") + arena + share > this.#budget) {
      throw new InvalidRequestError(
        "height",
        `The request needs ${arena + share} bytes of GPU memory beside the model's weights, and ` +
          `the budget leaves ${
            this.#budget - this.#gpu.ledger.bytes("weights")
          }: ask for a smaller size`,
      );
    }
    if (this.#waiting.length === 0 && this.#fits(arena, share)) {
      this.#take(arena, share);
      return;
    }
    if (this.#waiting.length >= this.#maxWaiting) {
      throw new BusyError("GPU memory is taken by other requests and the queue is full");
    }
    const waiting: Waiting = {
      arena,
      share,
      admitted: Promise.withResolvers<void>(),
      onProgress,
    };
    this.#waiting.push(waiting);
    onProgress?.({ type: "queued", position: this.#waiting.length });
    const abort = () => {
      const index = this.#waiting.indexOf(waiting);
      if (index < 0) return;
      this.#waiting.splice(index, 1);
      waiting.admitted.reject(signal!.reason);
      this.#admitNext();
    };
    signal?.addEventListener("abort", abort, { once: true });
    try {
      await waiting.admitted.promise;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  #take(arena: number, share: number): void {
    this.#arena = Math.max(this.#arena, arena);
    this.#reserved += share;
  }

  #admitNext(): void {
    const before = this.#waiting.length;
    for (let next; (next = this.#waiting[0]) && this.#fits(next.arena, next.share);) {
      this.#waiting.shift();
      this.#take(next.arena, next.share);
      next.admitted.resolve();
    }
    if (this.#waiting.length === before) return;
    for (const [i, { onProgress }] of this.#waiting.entries()) {
      onProgress?.({ type: "queued", position: i + 1 });
    }
  }
}

export function reportAdapter(
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
