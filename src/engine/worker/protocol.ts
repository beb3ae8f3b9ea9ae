/**
 * The messages between an engine's worker and whoever asks it. Everything here survives the
 * structured clone; pixels are transferred, not copied. Errors cross as name, message and fields,
 * and become the same classes again on the other side.
 */

import {
  DeviceLostError,
  DeviceUnavailableError,
  OutOfDeviceMemoryError,
} from "../../gpu/errors.ts";
import { KernelError } from "../../gpu/errors.ts";
import { BusyError, InvalidRequestError } from "../../requests/errors.ts";
import type { EngineStatus, GenerateResult, ProgressEvent } from "../types.ts";
import type { GenerateRequest } from "../../requests/types.ts";
import type { RgbImage } from "../../image/rgb_image.ts";

/** To the worker. `open` comes first and once; `options` is whatever the worker's opener takes. */
export type WorkerRequest =
  | { readonly type: "open"; readonly options: unknown }
  | {
    readonly type: "generate";
    readonly id: number;
    readonly request: GenerateRequest;
    readonly previewEvery: number;
  }
  | { readonly type: "abort"; readonly id: number }
  | { readonly type: "close" };

/** From the worker. Each `generate` is answered by exactly one `done` or `failed`. */
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

/** An error as it crosses. `fields` holds the enumerable own values that can be cloned. */
export interface WireError {
  readonly name: string;
  readonly message: string;
  readonly stack?: string | undefined;
  readonly fields: Readonly<Record<string, unknown>>;
}

const classes: Readonly<Record<string, { readonly prototype: Error }>> = {
  InvalidRequestError,
  BusyError,
  DeviceUnavailableError,
  DeviceLostError,
  OutOfDeviceMemoryError,
  KernelError,
  TypeError,
  RangeError,
  SyntaxError,
};

/** Takes an error apart. Anything thrown that is no Error becomes one with its text. */
export function toWireError(thrown: unknown): WireError {
  if (!(thrown instanceof Error)) {
    return { name: "Error", message: String(thrown), fields: {} };
  }
  const fields: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(thrown)) {
    if (key === "name" || key === "message" || key === "stack") continue;
    if (isPlain(value)) fields[key] = value;
  }
  return { name: thrown.name, message: thrown.message, stack: thrown.stack, fields };
}

/**
 * Puts an error together again: `instanceof` holds for the classes of this project and for the
 * built-in ones, `AbortError` and its kin are `DOMException`s, and any other keeps its name.
 */
export function fromWireError(wire: WireError): Error {
  if (wire.name === "AbortError" || wire.name === "TimeoutError") {
    return new DOMException(wire.message, wire.name);
  }
  const known = Object.hasOwn(classes, wire.name) ? classes[wire.name] : undefined;
  // Constructors are by-passed: some compose their message, and it is composed already.
  const error = new Error(wire.message);
  if (known !== undefined) Object.setPrototypeOf(error, known.prototype);
  Object.defineProperty(error, "name", { value: wire.name, configurable: true });
  if (wire.stack !== undefined) {
    Object.defineProperty(error, "stack", { value: wire.stack, configurable: true });
  }
  for (const [key, value] of Object.entries(wire.fields)) {
    Object.defineProperty(error, key, { value, enumerable: true, configurable: true });
  }
  return error;
}

/** The buffers of images that a message may give away. */
export function pixelBuffers(images: readonly RgbImage[]): ArrayBuffer[] {
  return [...new Set(images.map((image) => image.data.buffer))];
}

function isPlain(value: unknown): boolean {
  if (value === null || ["string", "number", "boolean", "undefined"].includes(typeof value)) {
    return true;
  }
  return Array.isArray(value) && value.every(isPlain);
}
