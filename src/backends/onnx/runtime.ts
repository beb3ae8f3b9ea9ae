/**
 * onnxruntime-web with its native WebGPU execution provider, on our device. One module-wide lock:
 * the runtime is one WebAssembly instance that handles one call at a time, and a second call made
 * meanwhile never returns. Nor does any call after one failed in the middle: the first such failure
 * is kept and answers all later calls.
 */
// the order of these three matters
import "./location_hidden.ts";
import * as ort from "onnxruntime-web/webgpu";
import "./location_restored.ts";
import { Mutex } from "async-mutex";
import type { Gpu } from "../../gpu/device.ts";
import type { Owner } from "../../gpu/ledger.ts";
import { countedDevice } from "./counted_device.ts";
import { OnnxError } from "./errors.ts";

// The GPU computes; threads would only be started to wait for it.
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";

export type OrtSession = ort.InferenceSession;
export type OrtTensor = ort.Tensor;
export const OrtTensor = ort.Tensor;

const lock = new Mutex();
let failure: OnnxError | undefined;
const failed = Promise.withResolvers<OnnxError>();

/** Settles when the runtime can no longer be used in this thread. */
export const runtimeFailed: Promise<OnnxError> = failed.promise;

function fail(graph: string, error: unknown): OnnxError {
  failure = new OnnxError(graph, messageOf(error), { cause: error });
  failed.resolve(failure);
  return failure;
}

/** @throws {OnnxError} with what onnxruntime says of the graph */
export function createSession(
  gpu: Gpu,
  graph: string,
  model: Uint8Array,
  externalData: readonly { path: string; data: Uint8Array }[],
): Promise<OrtSession> {
  const provider = {
    name: "webgpu",
    device: countedDevice(gpu).device,
    // buffers are used again within a run and kept for the next: least memory at the peak
    storageBufferCacheMode: "bucket",
  } as const;
  return exclusive(gpu, graph, "weights", async () => {
    // a graph that onnxruntime refuses leaves the runtime usable
    try {
      return await ort.InferenceSession.create(model, {
        executionProviders: [provider],
        externalData,
        preferredOutputLocation: "gpu-buffer",
        // errors; else it warns of the shape arithmetic that it keeps on the CPU by design
        logSeverityLevel: 3,
      });
    } catch (error) {
      throw new OnnxError(graph, messageOf(error), { cause: error });
    }
  });
}

/** @throws {OnnxError} or the error of a lost device */
export function runSession(
  gpu: Gpu,
  graph: string,
  session: OrtSession,
  feeds: Readonly<Record<string, OrtTensor>>,
  outputs: readonly string[],
): Promise<Readonly<Record<string, OrtTensor>>> {
  return exclusive(gpu, graph, "arena", () => session.run(feeds, outputs));
}

/** Frees a session's memory. Never rejects: a failed runtime has nothing to give back. */
export function releaseSession(graph: string, session: OrtSession): Promise<void> {
  return lock.runExclusive(async () => {
    if (failure) return;
    try {
      await session.release();
    } catch (error) {
      fail(graph, error);
    }
  });
}

/** What to do when the device of the call under way is lost. */
let onLost: { readonly gpu: Gpu; readonly reject: (error: Error) => void } | undefined;
const watched = new WeakSet<Gpu>();

function exclusive<T>(
  gpu: Gpu,
  graph: string,
  owner: Owner,
  work: () => Promise<T>,
): Promise<T> {
  if (!watched.has(gpu)) {
    watched.add(gpu);
    gpu.lost.then((lost) => {
      if (onLost?.gpu === gpu) onLost.reject(lost);
    });
  }
  return lock.runExclusive(async () => {
    if (failure) throw failure;
    countedDevice(gpu).owner = owner;
    // onnxruntime would wait for a lost device for ever
    const lost = Promise.withResolvers<never>();
    onLost = { gpu, reject: lost.reject };
    try {
      return await Promise.race([work(), lost.promise]);
    } catch (error) {
      if (error instanceof OnnxError) throw error;
      fail(graph, error);
      // the loss of the device may be told only after what came of it
      const told = new Promise<void>((resolve) => setTimeout(resolve, 0));
      throw await Promise.race([gpu.lost, told]) ?? failure;
    } finally {
      onLost = undefined;
      countedDevice(gpu).owner = "arena";
    }
  });
}

/** onnxruntime's message without the path of its own build machine. */
function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/^.*ERROR_MESSAGE: /s, "").replace(/\/\S+\/onnxruntime\/core\/\S+ /g, "");
}
