/**
 * The folder of finished images: written atomically under names that cannot be guessed, removed
 * when they are old or when all of them together are too large.
 */

import { join } from "node:path";

/** 128 random bits; a name is the only thing one needs to know to see an image. */
const imageName = /^img[0-9a-f]{32}\.png$/;
const temporaryName = /^\.img[0-9a-f]{32}\.png\.tmp$/;

export interface ImageStoreOptions {
  /** Seconds; 0 keeps images for ever. */
  readonly ttlSeconds: number;
  /** Bytes; 0 is no bound. */
  readonly maxBytes: number;
  /** Milliseconds since 1970; for tests. */
  readonly now?: () => number;
}

/** What the folder holds. */
export interface ImageUsage {
  readonly count: number;
  readonly bytes: number;
}

interface Entry {
  readonly bytes: number;
  /** Milliseconds since 1970. */
  readonly modified: number;
}

export class ImageStore {
  readonly #folder: string;
  readonly #options: ImageStoreOptions;
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  private constructor(folder: string, options: ImageStoreOptions) {
    this.#folder = folder;
    this.#options = options;
  }

  /**
   * Makes the folder if it is missing, takes over the images of an earlier run, and removes what
   * a run that was cut left half-written. Files with other names are never touched.
   *
   * @throws {Deno.errors.PermissionDenied | Deno.errors.NotCapable} if the folder is not writable
   */
  static async open(folder: string, options: ImageStoreOptions): Promise<ImageStore> {
    const store = new ImageStore(folder, options);
    await Deno.mkdir(folder, { recursive: true });
    for await (const { name, isFile } of Deno.readDir(folder)) {
      if (!isFile) continue;
      if (temporaryName.test(name)) await Deno.remove(join(folder, name));
      if (!imageName.test(name)) continue;
      const info = await Deno.stat(join(folder, name));
      store.#add(name, { bytes: info.size, modified: info.mtime?.getTime() ?? 0 });
    }
    // A folder that cannot be written to stops the start, not the first finished image.
    const probe = join(folder, `.${newName()}.tmp`);
    await Deno.writeFile(probe, new Uint8Array(1), { createNew: true });
    await Deno.remove(probe);
    await store.sweep();
    return store;
  }

  /** Writes an image and returns its name. The file appears under it whole or not at all. */
  async save(png: Uint8Array): Promise<string> {
    const name = newName();
    const temporary = join(this.#folder, `.${name}.tmp`);
    try {
      await Deno.writeFile(temporary, png, { createNew: true });
      await Deno.rename(temporary, join(this.#folder, name));
    } catch (error) {
      await Deno.remove(temporary).catch(() => {});
      throw error;
    }
    this.#add(name, { bytes: png.length, modified: this.#now() });
    if (this.#overfull()) await this.sweep();
    return name;
  }

  /** The path of an image, or undefined if there is none by that name or it is too old. */
  find(name: string): string | undefined {
    const entry = this.#entries.get(name);
    if (entry === undefined || this.#expired(entry)) return undefined;
    return join(this.#folder, name);
  }

  async remove(name: string): Promise<void> {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    this.#entries.delete(name);
    this.#bytes -= entry.bytes;
    try {
      await Deno.remove(join(this.#folder, name));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }

  /** Removes what is too old, then the oldest until the rest fits. Returns how many went. */
  async sweep(): Promise<number> {
    let removed = 0;
    const oldestFirst = [...this.#entries].sort(([, a], [, b]) => a.modified - b.modified);
    for (const [name, entry] of oldestFirst) {
      if (!this.#expired(entry) && !this.#overfull()) break;
      await this.remove(name);
      removed++;
    }
    return removed;
  }

  usage(): ImageUsage {
    return { count: this.#entries.size, bytes: this.#bytes };
  }

  #add(name: string, entry: Entry): void {
    this.#entries.set(name, entry);
    this.#bytes += entry.bytes;
  }

  #expired({ modified }: Entry): boolean {
    const { ttlSeconds } = this.#options;
    return ttlSeconds > 0 && this.#now() - modified >= ttlSeconds * 1000;
  }

  #overfull(): boolean {
    const { maxBytes } = this.#options;
    return maxBytes > 0 && this.#bytes > maxBytes && this.#entries.size > 1;
  }

  #now(): number {
    return (this.#options.now ?? Date.now)();
  }
}

function newName(): string {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return `img${Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("")}.png`;
}
