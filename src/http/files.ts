/** One file as an answer: type, validator, conditional requests and byte ranges (RFC 9110). */

import type { Context } from "hono";
import { HttpError } from "./errors.ts";

export interface FileHeaders {
  readonly contentType: string;
  readonly cacheControl: string;
  /** A strong entity tag with its quotes; from size and time of change if absent. */
  readonly etag?: string;
  readonly [header: string]: string | undefined;
}

const types: Readonly<Record<string, string>> = {
  css: "text/css; charset=utf-8",
  html: "text/html; charset=utf-8",
  ico: "image/x-icon",
  js: "text/javascript; charset=utf-8",
  json: "application/json",
  map: "application/json",
  mjs: "text/javascript; charset=utf-8",
  png: "image/png",
  svg: "image/svg+xml",
  txt: "text/plain; charset=utf-8",
  wasm: "application/wasm",
  webmanifest: "application/manifest+json",
  webp: "image/webp",
  wgsl: "text/wgsl; charset=utf-8",
  woff2: "font/woff2",
};

/** The media type of a file by its name. */
export function contentType(name: string): string {
  const extension = name.slice(name.lastIndexOf(".") + 1).toLowerCase();
  return types[extension] ?? "application/octet-stream";
}

/** Not every file is served: this one is missing, and the client hears no more than that. */
export function notFound(what = "There is nothing here"): HttpError {
  return new HttpError(404, "not_found_error", what);
}

/**
 * Answers with the file at `path`, which the caller has made sure may be seen.
 *
 * @throws {HttpError} 404 if it is gone, 416 if the range lies outside
 */
export async function serveFile(c: Context, path: string, about: FileHeaders): Promise<Response> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(path);
  } catch (error) {
    if (isNoFile(error)) throw notFound();
    throw error;
  }
  let handedOver = false;
  try {
    const info = await file.stat();
    if (!info.isFile) throw notFound();
    const { contentType, cacheControl, etag: given, ...extra } = about;
    const etag = given ?? entityTag(info);
    const headers = new Headers({
      "Accept-Ranges": "bytes",
      "Cache-Control": cacheControl,
      "Content-Type": contentType,
      "ETag": etag,
    });
    for (const [name, value] of Object.entries(extra)) {
      if (value !== undefined) headers.set(name, value);
    }
    if (matches(c.req.header("If-None-Match"), etag)) {
      return new Response(null, { status: 304, headers });
    }
    const unchanged = [undefined, etag].includes(c.req.header("If-Range"));
    const range = unchanged ? parseRange(c.req.header("Range"), info.size) : undefined;
    const { start, end } = range ?? { start: 0, end: info.size };
    headers.set("Content-Length", String(end - start));
    if (range !== undefined) headers.set("Content-Range", `bytes ${start}-${end - 1}/${info.size}`);
    const status = range === undefined ? 200 : 206;
    if (c.req.method === "HEAD") return new Response(null, { status, headers });
    if (start > 0) await file.seek(start, Deno.SeekMode.Start);
    handedOver = true;
    const body = range === undefined ? file.readable : firstBytes(file.readable, end - start);
    return new Response(body, { status, headers });
  } finally {
    if (!handedOver) file.close();
  }
}

/** There is nothing by that name, or cannot be: the path goes through a file, or is too long. */
function isNoFile(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory ||
    (error as { code?: string }).code === "ENAMETOOLONG";
}

/** A strong entity tag from a file's size and time of change. */
export function entityTag({ size, mtime }: Deno.FileInfo): string {
  return `"${size.toString(16)}-${(mtime?.getTime() ?? 0).toString(16)}"`;
}

/** If-None-Match compares weakly: `W/` does not matter. */
function matches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  const tags = header.split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  return tags.includes("*") || tags.includes(etag);
}

/**
 * A single byte range; `end` is exclusive. Undefined (the whole file) for other units and for
 * several ranges at once, which a server may ignore.
 */
function parseRange(
  header: string | undefined,
  size: number,
): { start: number; end: number } | undefined {
  const match = /^bytes=\s*(\d*)-(\d*)\s*$/.exec(header ?? "");
  if (match === null || (match[1] === "" && match[2] === "")) return undefined;
  const [first, last] = [match[1] ?? "", match[2] ?? ""];
  const start = first === "" ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === "" || last === "" ? size : Math.min(size, Number(last) + 1);
  if (first !== "" && last !== "" && Number(last) < start) return undefined;
  if (start >= size || end <= start) {
    throw new HttpError(416, "range_error", `The range lies outside the file's ${size} bytes`, {
      "Content-Range": `bytes */${size}`,
    });
  }
  return { start, end };
}

function firstBytes(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  count: number,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const reader = stream.getReader();
  let left = count;
  return new ReadableStream({
    type: "bytes",
    async pull(controller) {
      const { done, value } = await reader.read();
      if (done) {
        // Shorter than it was a moment ago: the client must not take it for the whole.
        controller.error(new Error("The file ended early: it changed while it was sent"));
        return;
      }
      const part = value.subarray(0, left);
      left -= part.length;
      if (part.length > 0) controller.enqueue(part.slice());
      if (left === 0) {
        await reader.cancel();
        controller.close();
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
}
