/**
 * Errors as they cross between a worker and whoever asks it: name, message, fields and cause, and
 * the class they become again. A class that is new to the registry is named by its test.
 */
import { BackendChoiceError } from "../../backends/errors.ts";
import { ExportError, OnnxError } from "../../backends/onnx/errors.ts";
import {
  BindingLimitError,
  DeviceLostError,
  DeviceUnavailableError,
  KernelError,
  OutOfDeviceMemoryError,
} from "../../gpu/errors.ts";
import { ConfigError } from "../../models/errors.ts";
import { BusyError, InvalidRequestError } from "../../requests/errors.ts";
import { FileNotFoundError, FileReadError, WeightsError } from "../../weights/errors.ts";
import { WorkerDiedError } from "../errors.ts";

/** What a worker may throw and its client tell apart, besides `DOMException`. */
export const wireClasses: Readonly<Record<string, { readonly prototype: Error }>> = {
  InvalidRequestError,
  BusyError,
  ConfigError,
  WeightsError,
  FileNotFoundError,
  FileReadError,
  DeviceUnavailableError,
  DeviceLostError,
  OutOfDeviceMemoryError,
  KernelError,
  BindingLimitError,
  BackendChoiceError,
  OnnxError,
  ExportError,
  WorkerDiedError,
  AggregateError,
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
  Error,
};

/** A part of an error: an error in turn, or what the structured clone can carry. */
type WirePart = { readonly error: WireError } | { readonly value: unknown };

export interface WireError {
  /** Key in `wireClasses` of the nearest class that both sides know, or `DOMException`. */
  readonly class: string;
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly cause?: WirePart;
  /** Of an `AggregateError`. */
  readonly errors?: readonly WirePart[];
  /** Other own values. */
  readonly fields: Readonly<Record<string, WirePart>>;
}

/** Causes further down than this cross as their text: a chain may be a ring. */
const deepestCause = 8;
const standard = ["name", "message", "stack", "cause", "errors"];

/** Takes an error apart. Anything thrown that is no Error becomes one with its text. */
export function toWireError(thrown: unknown, depth = 0): WireError {
  if (!(thrown instanceof Error)) return toWireError(new Error(String(thrown)), depth);
  const part = (value: unknown): WirePart => {
    if (!(value instanceof Error)) return { value: canBeCloned(value) ? value : String(value) };
    return depth < deepestCause
      ? { error: toWireError(value, depth + 1) }
      : { value: String(value) };
  };
  const own = Object.entries(thrown).filter(([key]) => !standard.includes(key));
  return {
    class: classOf(thrown),
    name: thrown.name,
    message: thrown.message,
    stack: thrown.stack,
    ...Object.hasOwn(thrown, "cause") && { cause: part(thrown.cause) },
    ...thrown instanceof AggregateError && { errors: thrown.errors.map(part) },
    fields: Object.fromEntries(own.map(([key, value]) => [key, part(value)])),
  };
}

/** Puts an error together again: `instanceof` holds for the class that `wire` names. */
export function fromWireError(wire: WireError): Error {
  const { name, message, stack, cause, errors, fields } = wire;
  // Constructors are by-passed: some compose their message, and it is composed already.
  const error = wire.class === "DOMException"
    ? new DOMException(message, name)
    : new Error(message);
  const known = Object.hasOwn(wireClasses, wire.class) ? wireClasses[wire.class] : undefined;
  if (known !== undefined) Object.setPrototypeOf(error, known.prototype);
  const define = (key: string, value: unknown, enumerable = false) =>
    Object.defineProperty(error, key, { value, enumerable, configurable: true, writable: true });
  if (error.name !== name) define("name", name, true);
  if (stack !== undefined) define("stack", stack);
  if (cause !== undefined) define("cause", partOf(cause));
  if (errors !== undefined) define("errors", errors.map(partOf));
  for (const [key, part] of Object.entries(fields)) define(key, partOf(part), true);
  return error;
}

function partOf(wire: WirePart): unknown {
  return "error" in wire ? fromWireError(wire.error) : wire.value;
}

/** By identity, since a bundler may rename a class, and a subclass has its parent's meaning. */
function classOf(error: Error): string {
  if (error instanceof DOMException) return "DOMException";
  for (let part = Object.getPrototypeOf(error); part !== null; part = Object.getPrototypeOf(part)) {
    const known = Object.entries(wireClasses).find(([, { prototype }]) => prototype === part);
    if (known !== undefined) return known[0];
  }
  return "Error";
}

function canBeCloned(value: unknown): boolean {
  try {
    structuredClone(value);
    return true;
  } catch {
    return false;
  }
}
