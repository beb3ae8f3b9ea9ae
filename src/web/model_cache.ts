/** The server's model in this browser: fetched once in pieces, kept in the origin's private files. */
import { blobSource } from "../weights/blob_source.ts";
import { fetchSource } from "../weights/fetch_source.ts";
import type { FileSource } from "../weights/source.ts";

/** `model/index.json`: what there is to fetch. Sizes in bytes. */
export interface ModelListing {
  readonly name: string;
  readonly files: readonly {
    readonly path: string;
    readonly size: number;
    /** Changes with the file's contents. */
    readonly etag: string;
  }[];
}

export interface CachedModel {
  readonly source: FileSource;
  /** Why nothing could be kept, if so; the model is then read from the server as it is needed. */
  readonly notKept?: string | undefined;
}

/** Writing in place, which TypeScript declares for its worker library only. */
interface SyncAccess {
  truncate(size: number): void;
  write(bytes: Uint8Array, options: { at: number }): number;
  close(): void;
}
type WorkerFileHandle = FileSystemFileHandle & { createSyncAccessHandle(): Promise<SyncAccess> };

/** One request's worth of a file. */
const pieceBytes = 4 * 2 ** 20;
const modelsFolder = "models";

/** Bytes of all files of a listing. */
export function totalBytes(listing: ModelListing): number {
  return listing.files.reduce((sum, { size }) => sum + size, 0);
}

/**
 * The listed files under `baseUrl`, from the private files where they are complete, fetched and
 * kept where not. An interrupted fetch goes on where it stopped. To be called in a worker, as the
 * writing handles exist only there.
 */
export async function cachedModel(
  baseUrl: string,
  listing: ModelListing,
  headers: Readonly<Record<string, string>>,
  onProgress: (bytesDone: number, bytesTotal: number) => void,
): Promise<CachedModel> {
  const remote = fetchSource(baseUrl, listing.files.map(({ path }) => path), headers);
  const key = await keyOf(baseUrl, listing);
  try {
    // Two tabs that fetch the same model take turns: only one may write a file at a time.
    const files = await navigator.locks.request(
      `${modelsFolder}/${key}`,
      () => fill(remote, key, listing, onProgress),
    );
    return { source: blobSource(listing.name, files) };
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    const reason = error.name === "QuotaExceededError" ? "its storage is full" : error.message;
    return { source: remote, notKept: reason };
  }
}

/** Deletes every kept model; resolves when the space is free. */
export async function forgetModels(): Promise<void> {
  const root = await navigator.storage.getDirectory();
  try {
    await root.removeEntry(modelsFolder, { recursive: true });
  } catch (error) {
    if (!(error instanceof DOMException && error.name === "NotFoundError")) throw error;
  }
}

async function fill(
  remote: FileSource,
  key: string,
  listing: ModelListing,
  onProgress: (bytesDone: number, bytesTotal: number) => void,
): Promise<Map<string, File>> {
  const root = await navigator.storage.getDirectory();
  const models = await root.getDirectoryHandle(modelsFolder, { create: true });
  const folder = await models.getDirectoryHandle(key, { create: true });
  const total = totalBytes(listing);
  const files = new Map<string, File>();
  let done = 0;
  for (const { path, size } of listing.files) {
    const handle = await openFile(folder, path);
    // Bytes are appended in order, so a file's size says how far it got.
    let at = (await handle.getFile()).size;
    if (at !== size) {
      const access = await (handle as WorkerFileHandle).createSyncAccessHandle();
      try {
        if (at > size) access.truncate(at = 0);
        while (at < size) {
          const end = Math.min(at + pieceBytes, size);
          access.write(await remote.read(path, at, end), { at });
          at = end;
          onProgress(done + at, total);
        }
      } finally {
        access.close();
      }
    }
    done += size;
    onProgress(done, total);
    files.set(path, await handle.getFile());
  }
  await dropOthers(models, key);
  return files;
}

async function openFile(
  folder: FileSystemDirectoryHandle,
  path: string,
): Promise<FileSystemFileHandle> {
  const parts = path.split("/");
  const name = parts.pop() ?? path;
  let inner = folder;
  for (const part of parts) inner = await inner.getDirectoryHandle(part, { create: true });
  return await inner.getFileHandle(name, { create: true });
}

/** An earlier version of the model would only take space. */
async function dropOthers(models: FileSystemDirectoryHandle, key: string): Promise<void> {
  for await (const name of models.keys()) {
    if (name === key) continue;
    await models.removeEntry(name, { recursive: true }).catch(() => {
      // Another tab still writes there; the next load will find it again.
    });
  }
}

/** A name for exactly these files: anything that changes in the listing makes it another. */
async function keyOf(baseUrl: string, listing: ModelListing): Promise<string> {
  const text = new TextEncoder().encode(JSON.stringify([baseUrl, listing]));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", text));
  return [...digest.subarray(0, 12)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
