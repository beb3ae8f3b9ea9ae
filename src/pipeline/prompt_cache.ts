/**
 * Embeddings of recent prompts, bounded in bytes. A prompt that several requests want at once is
 * encoded once; an entry in use outlives its eviction until the last user lets go.
 */
import { LRUCache } from "lru-cache";
import type { PreparedText } from "../models/components.ts";

/** Embeddings on loan: `release()` once, when the request is over. */
export interface TextLease {
  readonly text: PreparedText;
  release(): void;
}

interface Entry {
  readonly text: PreparedText;
  readonly bytes: number;
  users: number;
  evicted: boolean;
}

export interface PromptCacheOptions {
  readonly maxBytes: number;
  /** Frees the tensors of a text that nobody uses any more. */
  readonly destroy: (text: PreparedText) => void;
}

export class PromptCache {
  readonly #cache: LRUCache<string, Entry>;
  readonly #pinned = new Map<string, Entry>();
  readonly #pending = new Map<string, { waiters: number; entry: Promise<Entry> }>();
  readonly #destroy: (text: PreparedText) => void;
  #hits = 0;
  #misses = 0;

  constructor({ maxBytes, destroy }: PromptCacheOptions) {
    this.#destroy = destroy;
    this.#cache = new LRUCache<string, Entry>({
      maxSize: Math.max(1, maxBytes),
      sizeCalculation: (entry) => entry.bytes,
      dispose: (entry) => this.#evict(entry),
    });
  }

  get hits(): number {
    return this.#hits;
  }

  get misses(): number {
    return this.#misses;
  }

  /**
   * The embeddings for `key`, made by `encode` if unknown.
   *
   * @param pin keeps the entry for good (the empty negative prompt)
   */
  async acquire(
    key: string,
    encode: () => Promise<PreparedText>,
    { pin = false }: { pin?: boolean } = {},
  ): Promise<TextLease> {
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
      this.#pending.set(key, pending = { waiters: 0, entry: this.#make(key, encode, pin) });
    }
    pending.waiters++;
    return this.#lease(await pending.entry);
  }

  /** Frees everything that is not on loan, and what is when it comes back. */
  dispose(): void {
    this.#cache.clear();
    for (const entry of this.#pinned.values()) this.#evict(entry);
    this.#pinned.clear();
  }

  async #make(key: string, encode: () => Promise<PreparedText>, pin: boolean): Promise<Entry> {
    try {
      const text = await encode();
      const bytes = text.context.byteLength + text.pooled.byteLength;
      // Counted for all who wait, so that nothing evicts the entry before they have it.
      const users = this.#pending.get(key)!.waiters;
      const entry: Entry = { text, bytes, users, evicted: false };
      if (pin) this.#pinned.set(key, entry);
      else {
        this.#cache.set(key, entry);
        // An entry larger than the whole cache is not kept.
        if (!this.#cache.has(key)) entry.evicted = true;
      }
      return entry;
    } finally {
      this.#pending.delete(key);
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
    entry.evicted = true;
    if (entry.users === 0) this.#destroy(entry.text);
  }
}
