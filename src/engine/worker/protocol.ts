/**
 * The messages between an engine's worker and whoever asks it. Everything here survives the
 * structured clone; pixels are transferred, not copied; errors keep their class (`wire_error.ts`).
 */

import type { EngineStatus, GenerateResult, ProgressEvent } from "../types.ts";
import type { GenerateRequest, ResolvedRequest } from "../../requests/types.ts";
import type { RgbImage } from "../../image/rgb_image.ts";
import type { WireError } from "./wire_error.ts";

/** A request: as it is, or resolved for this engine already. */
export type Question =
  | { readonly type: "generate"; readonly request: GenerateRequest }
  | { readonly type: "run"; readonly request: ResolvedRequest };
export type Ask = Question & { readonly id: number; readonly previewEvery: number };

/** To the worker. `open` comes first and once; `options` is whatever the worker's opener takes. */
export type WorkerRequest =
  | { readonly type: "open"; readonly options: unknown }
  | Ask
  | { readonly type: "abort"; readonly id: number }
  | { readonly type: "close" };

/** From the worker. Each `generate` and `run` is answered by exactly one `done` or `failed`. */
export type WorkerReply =
  | { readonly type: "opened"; readonly status: EngineStatus }
  | { readonly type: "openFailed"; readonly error: WireError }
  | { readonly type: "progress"; readonly id: number; readonly event: ProgressEvent }
  | { readonly type: "done"; readonly id: number; readonly result: GenerateResult }
  | { readonly type: "failed"; readonly id: number; readonly error: WireError }
  | { readonly type: "status"; readonly status: EngineStatus }
  | { readonly type: "closed"; readonly error?: WireError | undefined };

/** The part of a Worker, a worker's global scope or a MessagePort that the protocol needs. */
export interface MessageEndpoint {
  postMessage(message: unknown, transfer: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
}

/** The buffers of images that a message may give away. */
export function pixelBuffers(images: readonly RgbImage[]): ArrayBuffer[] {
  return [...new Set(images.map((image) => image.data.buffer))];
}
