/**
 * Embeddings of recent prompts, bounded in bytes, and the queue in front of the text encoders. A
 * prompt that several requests want at once is embedded once; an entry in use outlives its eviction
 * until the last user lets go.
 */
import { Mutex } from "async-mutex";
import { LRUCache } from "lru-cache";
import type { PreparedText } from "../models/sd3/components.ts";

/** Embeddings on loan: `release()` once, when the request is over. */
export interface TextLease {
  readonly text: PreparedText;
  release(): void;
}

interface Entry {
  readonly text: PreparedText;
  readonly bytes: number;
  users: number;
  /** No longer in the cache: destroyed when the last user lets go. */
  evicted: boolean;
}

/** An entry that is being made, and those who wait for it. */
interface Pending {
  /** All who ever waited: each gives back one use of the entry. */
  waiters: number;
  /** Those of them who still do. */
  waiting: number;
  entry: Promise<Entry> | undefined;
}

export interface PromptCacheOptions {
  readonly maxBytes: number;
  /** Frees the tensors of a text that nobody uses any more. */
  readonly destroy: (text: PreparedText) => void;
}

export interface AcquireOptions {
  /** Keeps the entry for good (the empty negative prompt), within a quarter of the cache's bytes. */
  readonly pin?: boolean | undefined;
  /** Stops the wait; the encoding, too, if nobody else waits for it and it has not begun. */
  readonly signal?: AbortSignal | undefined;
}

const pinnedFraction = 1 / 4;

export class PromptCache {
  readonly #maxBytes: number;
  readonly #cache: LRUCache<string, Entry>;
  readonly #pinned = new Map<string, Entry>();
  readonly #pending = new Map<string, Pending>();
  /** One prompt at a time: the encoders' activations do not grow with the requests. */
  readonly #turn = new Mutex();
  readonly #destroy: (text: PreparedText) => void;
  #pinnedBytes = 0;
  #hits = 0;
  #misses = 0;
  #disposed = false;

  constructor({ maxBytes, destroy }: PromptCacheOptions) {
    this.#maxBytes = maxBytes;
    this.#destroy = destroy;
    this.#cache = new LRUCache<string, Entry>({
      maxSize: Math.max(1, maxBytes),
      sizeCalculation: (entry) => entry.bytes,
      dispose: (entry) => this.#evict(entry),
    });
  }

  /** Prompts that were known or being embedded when they were asked for. */
  get hits(): number {
    return this.#hits;
  }

  /** Prompts that had to be embedded. */
  get misses(): number {
    return this.#misses;
  }

  get pinnedBytes(): number {
    return this.#pinnedBytes;
  }

  /** Bytes that `trim` could free: entries that nobody uses and that are not pinned. */
  get idleBytes(): number {
    let bytes = 0;
    for (const entry of this.#cache.values()) if (entry.users === 0) bytes += entry.bytes;
    return bytes;
  }

  /** Frees at least `bytes` of entries that nobody uses, least recent first, if there are as many. */
  trim(bytes: number): void {
    let freed = 0;
    for (const key of [...this.#cache.rkeys()]) {
      if (freed >= bytes) return;
      const entry = this.#cache.peek(key)!;
      if (entry.users > 0) continue;
      freed += entry.bytes;
      this.#cache.delete(key);
    }
  }

  /** The embeddings for `key`, made by `embed` if unknown. Rejects with what `embed` throws. */
  async acquire(
    key: string,
    embed: () => Promise<PreparedText>,
    { pin = false, signal }: AcquireOptions = {},
  ): Promise<TextLease> {
    signal?.throwIfAborted();
    const known = this.#pinned.get(key) ?? this.#cache.get(key);
    if (known) {
      this.#hits++;
      known.users++;
      return this.#lease(known);
    }
    let pending = this.#pending.get(key);
    if (pending) this.#hits++;
    else {
      this.#misses++;
      const made: Pending = pending = { waiters: 0, waiting: 0, entry: undefined };
      made.entry = this.#turn.runExclusive(() => this.#make(made, key, embed, pin));
      this.#pending.set(key, made);
    }
    return await this.#wait(pending, signal);
  }

  /** Frees everything that is not on loan, and what is when it comes back. */
  dispose(): void {
    this.#disposed = true;
    this.#cache.clear();
    for (const entry of this.#pinned.values()) this.#evict(entry);
    this.#pinned.clear();
    this.#pinnedBytes = 0;
  }

  #wait(pending: Pending, signal: AbortSignal | undefined): Promise<TextLease> {
    const { promise, resolve, reject } = Promise.withResolvers<TextLease>();
    let gone = false;
    const abort = () => {
      gone = true;
      pending.waiting--;
      reject(signal!.reason);
    };
    pending.waiters++;
    pending.waiting++;
    signal?.addEventListener("abort", abort, { once: true });
    pending.entry!.then((entry) => {
      signal?.removeEventListener("abort", abort);
      if (gone) this.#giveBack(entry);
      else resolve(this.#lease(entry));
    }, (error) => {
      signal?.removeEventListener("abort", abort);
      reject(error);
    });
    return promise;
  }

  async #make(
    pending: Pending,
    key: string,
    embed: () => Promise<PreparedText>,
    pin: boolean,
  ): Promise<Entry> {
    try {
      if (pending.waiting === 0) throw new DOMException("Nobody waits any more", "AbortError");
      const text = await embed();
      const bytes = text.context.byteLength + text.pooled.byteLength;
      // Counted for all who wait, so that nothing evicts the entry before they have it.
      const entry: Entry = { text, bytes, users: pending.waiters, evicted: false };
      this.#keep(key, entry, pin);
      return entry;
    } finally {
      this.#pending.delete(key);
    }
  }

  #keep(key: string, entry: Entry, pin: boolean): void {
    const room = this.#maxBytes * pinnedFraction - this.#pinnedBytes;
    if (this.#disposed) this.#evict(entry);
    else if (pin && entry.bytes <= room) {
      this.#pinned.set(key, entry);
      this.#pinnedBytes += entry.bytes;
    } else {
      this.#cache.set(key, entry);
      // An entry larger than the whole cache is not kept.
      if (!this.#cache.has(key)) this.#evict(entry);
    }
  }

  #lease(entry: Entry): TextLease {
    let released = false;
    return {
      text: entry.text,
      release: () => {
        if (released) return;
        released = true;
        this.#giveBack(entry);
      },
    };
  }

  #giveBack(entry: Entry): void {
    entry.users--;
    if (entry.evicted && entry.users === 0) this.#destroy(entry.text);
  }

  #evict(entry: Entry): void {
    if (entry.evicted) return;
    entry.evicted = true;
    if (entry.users === 0) this.#destroy(entry.text);
  }
}
