/** Recorded programs by what makes them differ; the least recently used are let go. */
import { LRUCache } from "lru-cache";

interface Disposable {
  dispose(): void;
}

export class ProgramCache<T extends Disposable> {
  readonly #entries: LRUCache<string, T>;
  readonly #pending = new Map<string, Promise<T>>();

  constructor(max: number) {
    this.#entries = new LRUCache<string, T>({ max, dispose: (entry) => entry.dispose() });
  }

  /** The entry for `key`, recorded now if need be; concurrent callers share one recording. */
  get(key: string, record: () => Promise<T>): Promise<T> | T {
    const known = this.#entries.get(key);
    if (known) return known;
    const pending = this.#pending.get(key);
    if (pending) return pending;
    const made = record().then((entry) => {
      this.#entries.set(key, entry);
      return entry;
    }).finally(() => this.#pending.delete(key));
    this.#pending.set(key, made);
    return made;
  }

  dispose(): void {
    this.#entries.clear();
  }
}
