/** A model in blobs: files dropped on a page, picked from disk, or kept in memory. */
import { type FileSource, isInnerPath } from "./source.ts";
import { FileNotFoundError, FileReadError } from "./errors.ts";

/** `files` maps relative paths to their contents; a `File` is a `Blob`. */
export function blobSource(name: string, files: ReadonlyMap<string, Blob>): FileSource {
  // deno-lint-ignore require-await -- an absent file rejects, it does not throw
  const find = async (path: string): Promise<Blob> => {
    const blob = files.get(path);
    if (!blob) throw new FileNotFoundError(name, path);
    return blob;
  };
  return {
    name,
    list: () => Promise.resolve([...files.keys()].filter(isInnerPath).sort()),
    size: async (path) => (await find(path)).size,
    async read(path, start, end) {
      const blob = await find(path);
      if (end > blob.size) {
        throw new FileReadError(name, path, `ends at byte ${blob.size}, before ${end}`);
      }
      return new Uint8Array(await blob.slice(start, end).arrayBuffer());
    },
    text: async (path) => await (await find(path)).text(),
    has: (path) => Promise.resolve(files.has(path)),
  };
}
