import { type DBSchema, type IDBPDatabase, openDB } from "idb";
import type { ResolvedRequest } from "../requests/types.ts";
import type { Timings } from "../engine/types.ts";
import type { Place } from "./runner.ts";

/** One image of the gallery, with all it takes to draw it again. */
export interface GalleryEntry {
  readonly id: string;
  /** Milliseconds since 1970. */
  readonly created: number;
  readonly blob: Blob;
  readonly seed: number;
  readonly parameters: ResolvedRequest;
  readonly timings: Timings;
  readonly model: string;
  readonly place: Place;
}

interface Schema extends DBSchema {
  images: { key: string; value: GalleryEntry; indexes: { created: number } };
}

/** Older images leave when a new one would exceed this. */
const maxImages = 300;

/**
 * The gallery on disk (IndexedDB), so that images outlive a reload and the server's own clean-up.
 * Where a browser refuses storage (private windows), `open` says so and nothing is kept.
 */
export class GalleryStore {
  readonly #database: IDBPDatabase<Schema>;

  private constructor(database: IDBPDatabase<Schema>) {
    this.#database = database;
  }

  static async open(): Promise<GalleryStore> {
    return new GalleryStore(
      await openDB<Schema>("stable-diffusion-studio", 1, {
        upgrade: (database) => {
          const images = database.createObjectStore("images", { keyPath: "id" });
          images.createIndex("created", "created");
        },
      }),
    );
  }

  /** All entries, newest first. */
  async list(): Promise<GalleryEntry[]> {
    return (await this.#database.getAllFromIndex("images", "created")).reverse();
  }

  /** Keeps an entry; resolves to the ids of the old ones that had to go. */
  async add(entry: GalleryEntry): Promise<string[]> {
    const transaction = this.#database.transaction("images", "readwrite");
    await transaction.store.put(entry);
    const keys = await transaction.store.index("created").getAllKeys();
    const excess = keys.slice(0, Math.max(0, keys.length - maxImages));
    await Promise.all(excess.map((key) => transaction.store.delete(key)));
    await transaction.done;
    return excess;
  }

  async delete(id: string): Promise<void> {
    await this.#database.delete("images", id);
  }

  async clear(): Promise<void> {
    await this.#database.clear("images");
  }
}

const draftKey = "studio.draft";

/** The form as it was left, or undefined; a value nobody can read counts as none. */
export function loadDraft(): Record<string, string> | undefined {
  try {
    const draft: unknown = JSON.parse(localStorage.getItem(draftKey) ?? "null");
    if (draft === null || typeof draft !== "object") return undefined;
    return Object.fromEntries(
      Object.entries(draft).filter((pair): pair is [string, string] => typeof pair[1] === "string"),
    );
  } catch {
    return undefined;
  }
}

/** Keeps the form; a browser without storage simply forgets it. */
export function saveDraft(draft: Record<string, string>): void {
  try {
    localStorage.setItem(draftKey, JSON.stringify(draft));
  } catch {
    // Storage refused (private window): the draft is a convenience, the page works without it.
  }
}
