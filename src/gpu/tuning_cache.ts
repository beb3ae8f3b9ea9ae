/** What was measured on this adapter, kept as JSON text beyond the process. */
import { Mutex } from "async-mutex";
import crc32 from "crc-32";
import { z } from "zod";
import { type AdapterSummary, type KernelFamily, ownFamily } from "./adapter.ts";
import type { Question } from "./tuning.ts";

/** Where the text is kept. */
export interface TuningStore {
  /** Undefined if nothing was saved yet. */
  load(): Promise<string | undefined>;
  save(text: string): Promise<void>;
}

const kernelSchema = z.object({
  /** Of the candidates' kernels: a changed one is measured again. */
  hash: z.string(),
  choice: z.string(),
  milliseconds: z.record(z.string(), z.number()),
});

const batchSchema = z.object({
  /** Most images of a step that pay. */
  images: z.int().min(1),
  /** Largest batch that was measured. */
  tried: z.int().min(1),
});

const adapterSchema = z.object({
  kernels: z.record(z.string(), kernelSchema),
  batches: z.record(z.string(), batchSchema),
});

const fileSchema = z.object({
  version: z.literal(1),
  adapters: z.record(z.string(), adapterSchema),
});

type TuningFile = z.infer<typeof fileSchema>;
export type KernelEntry = z.infer<typeof kernelSchema>;
export type BatchEntry = z.infer<typeof batchSchema>;

/** Results for one adapter; other adapters' stay in the store as they are. */
export class TuningCache {
  readonly kernels = new Map<string, KernelEntry>();
  readonly batches = new Map<string, BatchEntry>();
  readonly #store: TuningStore | undefined;
  readonly #adapter: string;
  readonly #turn = new Mutex();
  #problem: string | undefined;

  private constructor(adapter: string, store: TuningStore | undefined) {
    this.#adapter = adapter;
    this.#store = store;
  }

  /** Without a store, results last as long as the cache. */
  static async open(adapter: string, store?: TuningStore): Promise<TuningCache> {
    const cache = new TuningCache(adapter, store);
    const { kernels = {}, batches = {} } = (await cache.#read()).adapters[adapter] ?? {};
    for (const [key, entry] of Object.entries(kernels)) cache.kernels.set(key, entry);
    for (const [key, entry] of Object.entries(batches)) cache.batches.set(key, entry);
    return cache;
  }

  /** Why the store cannot be read or written, if so; measuring goes on without it. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Adds the results to the store's, which other processes may have changed. Never rejects. */
  async save(): Promise<void> {
    const store = this.#store;
    if (!store) return;
    await this.#turn.runExclusive(async () => {
      const file = await this.#read();
      const before = file.adapters[this.#adapter];
      file.adapters[this.#adapter] = {
        kernels: { ...before?.kernels, ...Object.fromEntries(this.kernels) },
        batches: { ...before?.batches, ...Object.fromEntries(this.batches) },
      };
      try {
        await store.save(JSON.stringify(file, null, 1) + "\n");
      } catch (error) {
        this.#problem ??= `Tuning results cannot be saved: ${messageOf(error)}`;
      }
    });
  }

  async #read(): Promise<TuningFile> {
    const empty: TuningFile = { version: 1, adapters: {} };
    try {
      const text = await this.#store?.load();
      if (text === undefined) return empty;
      const { data, error } = fileSchema.safeParse(JSON.parse(text));
      if (data) return data;
      this.#problem ??= `Tuning results are ignored: ${z.prettifyError(error)}`;
    } catch (error) {
      this.#problem ??= `Tuning results are ignored: ${messageOf(error)}`;
    }
    return empty;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Which results hold on a device: those of its adapter's driver, as far as it tells, of the vector
 * width that the driver was asked for, and of the kernels, where they are not the adapter's own.
 */
export function adapterKey(
  { adapter, family }: { readonly adapter: AdapterSummary; readonly family: KernelFamily },
  vectorBits?: number,
): string {
  const { vendor, architecture, description } = adapter;
  const kernels = family === ownFamily(adapter) ? "" : `${family} kernels`;
  const bits = vectorBits === undefined ? "" : `${vectorBits} bits`;
  return [vendor, architecture, description, bits, kernels].filter((part) => part !== "").join(
    ", ",
  );
}

/** Of everything that the candidates run: names, kernels' texts and how they are specialised. */
export function questionHash({ candidates }: Question): string {
  const parts = candidates.map(({ name, kernel, specialise }) => [name, kernel.source, specialise]);
  return hashOf(JSON.stringify(parts));
}

export function hashOf(text: string): string {
  return (crc32.str(text) >>> 0).toString(16).padStart(8, "0");
}
