/** A model in a folder of this machine. The one module under src/weights that needs Deno. */
import { Mutex } from "async-mutex";
import { type FileSource, isInnerPath } from "./source.ts";
import { FileNotFoundError, FileReadError } from "./errors.ts";

export interface DirectorySource extends FileSource {
  /** Closes the files that were opened for reading; the source may be used again. */
  close(): void;
}

/**
 * Files under `directory`. Links are followed, since download caches keep the files elsewhere and
 * link them into place; hidden entries are left out of `list()`. The path of a file stands for a
 * folder that holds it alone.
 */
export function directorySource(directory: string): DirectorySource {
  const root = directory.replace(/(?<=.)\/+$/, "");
  const alone = isFile(root) ? root.split("/").at(-1) : undefined;
  const open = new Map<string, Promise<Deno.FsFile>>();
  /** A seek and its reads must not be parted by another range of the same file. */
  const locks = new Map<string, Mutex>();

  const full = (path: string) => {
    const isOutside = alone === undefined ? !isInnerPath(path) : path !== alone;
    if (isOutside) throw new FileNotFoundError(root, path);
    return alone === undefined ? `${root}/${path}` : root;
  };

  async function stat(path: string): Promise<Deno.FileInfo> {
    const info = await found(path, () => Deno.stat(full(path)));
    if (!info.isFile) throw new FileNotFoundError(root, path);
    return info;
  }

  async function found<T>(path: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
        throw new FileNotFoundError(root, path);
      }
      if (error instanceof Deno.errors.PermissionDenied) {
        throw new FileReadError(root, path, "may not be read");
      }
      throw error;
    }
  }

  function handle(path: string): Promise<Deno.FsFile> {
    let file = open.get(path);
    if (!file) {
      file = found(path, () => Deno.open(full(path)));
      open.set(path, file);
      file.catch(() => open.delete(path));
    }
    return file;
  }

  async function walk(
    folder: string,
    depth: number,
    seen: ReadonlySet<string> = new Set(),
  ): Promise<string[]> {
    if (alone !== undefined) return [alone];
    const real = await Deno.realPath(folder === "" ? root : `${root}/${folder}`);
    if (seen.has(real)) return [];
    const inside = new Set([...seen, real]);
    const paths: string[] = [];
    for await (const entry of Deno.readDir(real)) {
      if (entry.name.startsWith(".")) continue;
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      // A link that leads nowhere is no file.
      const info = entry.isSymlink
        ? await Deno.stat(`${real}/${entry.name}`).catch(() => null)
        : entry;
      if (info?.isDirectory && depth > 1) paths.push(...await walk(path, depth - 1, inside));
      else if (info?.isFile) paths.push(path);
    }
    return paths;
  }

  return {
    name: root,
    list: async (depth = Infinity) => (await found("", () => walk("", depth))).sort(),
    size: async (path) => (await stat(path)).size,
    async read(path, start, end) {
      const bytes = new Uint8Array(end - start);
      const file = await handle(path);
      let lock = locks.get(path);
      if (!lock) locks.set(path, lock = new Mutex());
      await lock.runExclusive(async () => {
        await file.seek(start, Deno.SeekMode.Start);
        for (let filled = 0; filled < bytes.length;) {
          const count = await file.read(bytes.subarray(filled));
          if (count === null) {
            throw new FileReadError(root, path, `ends at byte ${start + filled}, before ${end}`);
          }
          filled += count;
        }
      });
      return bytes;
    },
    text: (path) => found(path, () => Deno.readTextFile(full(path))),
    async has(path) {
      try {
        await stat(path);
        return true;
      } catch (error) {
        if (error instanceof FileNotFoundError) return false;
        throw error;
      }
    },
    close() {
      for (const file of open.values()) file.then((f) => f.close(), () => {});
      open.clear();
      locks.clear();
    },
  };
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    // Why is said by whoever reads it.
    return false;
  }
}
