/** A model on an HTTP server that serves byte ranges. */
import { type FileSource, isInnerPath } from "./source.ts";
import { FileNotFoundError, FileReadError } from "./errors.ts";

/**
 * The files named in `files` (relative paths) under `baseUrl`. HTTP has no listing, so the caller
 * says what there is; anything else is "not found" without a request.
 * @param headers sent with every request, e.g. `Authorization`
 */
export function fetchSource(
  baseUrl: string | URL,
  files: readonly string[],
  headers: Readonly<Record<string, string>> = {},
): FileSource {
  const base = String(baseUrl).replace(/\/*$/, "/");
  const known = new Set(files.filter(isInnerPath));
  const sizes = new Map<string, number>();

  async function get(path: string, range?: string): Promise<Response> {
    if (!known.has(path)) throw new FileNotFoundError(base, path);
    const url = base + path.split("/").map(encodeURIComponent).join("/");
    let response: Response;
    try {
      response = await fetch(url, {
        headers: range ? { ...headers, range: `bytes=${range}` } : headers,
      });
    } catch (error) {
      throw new FileReadError(base, path, `the request failed: ${String(error)}`);
    }
    const expected = range ? 206 : 200;
    if (response.status === expected) return response;
    await response.body?.cancel();
    if (response.status === 404 || response.status === 410) throw new FileNotFoundError(base, path);
    throw new FileReadError(
      base,
      path,
      range && response.status === 200
        ? "the server ignores byte ranges (200 instead of 206); it must support Range requests"
        : `the server answered ${response.status} ${response.statusText}`.trim(),
    );
  }

  /** The first byte and the file's length out of `bytes a-b/length`. */
  function contentRange(path: string, response: Response): { start: number; size: number } {
    const header = response.headers.get("content-range");
    const match = /^bytes (\d+)-\d+\/(\d+)$/.exec(header ?? "");
    if (!match) {
      throw new FileReadError(base, path, `the Content-Range header is unusable (${header})`);
    }
    return { start: Number(match[1]), size: Number(match[2]) };
  }

  return {
    name: base,
    list: () => Promise.resolve([...known].sort()),
    async size(path) {
      let size = sizes.get(path);
      if (size === undefined) {
        // A range instead of HEAD: a compressed answer's Content-Length is not the file's.
        const response = await get(path, "0-0");
        await response.body?.cancel();
        size = contentRange(path, response).size;
        sizes.set(path, size);
      }
      return size;
    },
    async read(path, start, end) {
      if (end <= start) return new Uint8Array(0);
      const response = await get(path, `${start}-${end - 1}`);
      const bytes = new Uint8Array(await response.arrayBuffer());
      if (contentRange(path, response).start !== start || bytes.length !== end - start) {
        throw new FileReadError(
          base,
          path,
          `asked for bytes ${start} to ${end}, but ${bytes.length} came, of ` +
            `"${response.headers.get("content-range")}"`,
        );
      }
      return bytes;
    },
    text: async (path) => await (await get(path)).text(),
    has: (path) => Promise.resolve(known.has(path)),
  };
}
