/** The page's worker: fetches or opens a model, and is the engine that the server's worker is. */
import { openGpu } from "../gpu/device.ts";
import { openEngine } from "../engine/engine.ts";
import { serveEngine } from "../engine/worker/host.ts";
import type { MessageEndpoint } from "../engine/worker/protocol.ts";
import { blobSource } from "../weights/blob_source.ts";
import type { FileSource } from "../weights/source.ts";
import type { LoadingMessage, OpenOptions } from "./engine_messages.ts";
import { cachedModel } from "./model_cache.ts";

// The page's type declarations know a window where a worker has its own scope.
const scope = globalThis as unknown as MessageEndpoint;

serveEngine(scope, async (message) => {
  const options = message as OpenOptions;
  const source = await openSource(options);
  const gpu = await openGpu({ kernels: options.kernels });
  return await openEngine(source, {
    gpu,
    // What is measured lives as long as the page, and a software adapter compiles every candidate
    // for seconds. No step before it is asked for: the page waits for the first image, not for the
    // best batch.
    tuning: gpu.adapter.isSoftware ? undefined : { batchSeconds: 0 },
    onLoadProgress: (bytesDone, bytesTotal) =>
      tell({ type: "loading", stage: "upload", bytesDone, bytesTotal }),
  });
});

async function openSource(options: OpenOptions): Promise<FileSource> {
  if (options.from === "files") return blobSource(options.name, options.files);
  const { url, listing, apiKey } = options;
  const { source, notKept } = await cachedModel(
    url,
    listing,
    apiKey === undefined ? {} : { Authorization: `Bearer ${apiKey}` },
    (bytesDone, bytesTotal) => tell({ type: "loading", stage: "fetch", bytesDone, bytesTotal }),
  );
  if (notKept !== undefined) tell({ type: "notKept", reason: notKept });
  return source;
}

function tell(message: LoadingMessage): void {
  scope.postMessage(message, []);
}
