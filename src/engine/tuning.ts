/** Everything that is measured on the adapter: kernels by the GPU's tuner, and batch sizes. */
import type { Gpu } from "../gpu/device.ts";
import { DeviceBench } from "../gpu/device_bench.ts";
import { type KernelChoice, Tuner } from "../gpu/tuner.ts";
import {
  adapterKey,
  type BatchEntry,
  hashOf,
  TuningCache,
  type TuningStore,
} from "../gpu/tuning_cache.ts";
import type { BatchLimits } from "../denoise/batch_limits.ts";
import type { BackendKind } from "../backends/choice.ts";
import type { ModelDescription } from "../models/sd3/describe.ts";
import type { GenerateRequest } from "../requests/types.ts";
import type { TuningReport } from "./types.ts";

export interface TuningOptions {
  /** Keeps results for later processes. Default: they last as long as the engine. */
  readonly store?: TuningStore | undefined;
  /** Seconds for timing kernels, all together; default 4. */
  readonly kernelSeconds?: number | undefined;
  /** Seconds for timing batches while the engine opens; default 4. 0: while requests run only. */
  readonly batchSeconds?: number | undefined;
  /** What is measured while the engine opens; default: a request of the model's own size. */
  readonly request?: Pick<GenerateRequest, "height" | "width" | "maxSequenceLength"> | undefined;
  readonly onChoice?: ((choice: KernelChoice) => void) | undefined;
}

const defaultSeconds = 4;

export class Tuning {
  readonly batchSeconds: number;
  readonly request: NonNullable<TuningOptions["request"]>;
  readonly #tuner: Tuner;
  readonly #cache: TuningCache;
  readonly #model: string;
  #saved = Promise.resolve();

  private constructor(tuner: Tuner, cache: TuningCache, model: string, options: TuningOptions) {
    this.#tuner = tuner;
    this.#cache = cache;
    this.#model = model;
    this.batchSeconds = options.batchSeconds ?? defaultSeconds;
    this.request = options.request ?? {};
  }

  /** Makes the GPU choose kernels by timing them from now on. */
  static async open(
    gpu: Gpu,
    model: ModelDescription,
    options: TuningOptions & {
      readonly vectorBits?: number | undefined;
      /** Of the transformer: what is measured with one holds for that one. */
      readonly backend?: BackendKind | undefined;
    },
  ): Promise<Tuning> {
    const key = adapterKey(gpu, options.vectorBits);
    const cache = await TuningCache.open(key, options.store);
    const tuner = new Tuner({
      cache,
      bench: new DeviceBench(gpu),
      seconds: options.kernelSeconds ?? defaultSeconds,
      onChoice: options.onChoice,
    });
    gpu.tuner = tuner;
    const { backend = "wgsl" } = options;
    const hash = hashOf(JSON.stringify([backend, model.configs.transformer]));
    return new Tuning(tuner, cache, hash, options);
  }

  /** Multiply-adds a second that the adapter reached so far; 0 before anything was measured. */
  get speed(): number {
    return this.#tuner.speed;
  }

  batch(tokens: number): BatchEntry | undefined {
    return this.#cache.batches.get(this.#batchKey(tokens));
  }

  keepBatch(tokens: number, entry: BatchEntry): void {
    this.#cache.batches.set(this.#batchKey(tokens), entry);
    this.#saved = this.#cache.save();
  }

  /** Resolves when everything found so far is in the store, or cannot get there. */
  saved(): Promise<void> {
    return this.#saved;
  }

  report(limits: BatchLimits): TuningReport {
    return {
      seconds: this.#tuner.spent,
      kernels: this.#tuner.choices.map(({ key, choice, source }) => ({ key, choice, source })),
      batches: limits.report(),
      problem: this.#cache.problem,
    };
  }

  #batchKey(tokens: number): string {
    return `${this.#model} @${tokens}`;
  }
}
