/**
 * Which status an error becomes. One table; everything that is thrown while a request is served
 * passes through `toErrorResponse`, and nothing else decides a status.
 */

import { HTTPException } from "hono/http-exception";
import { DeviceLostError, OutOfDeviceMemoryError } from "../gpu/errors.ts";
import { BusyError, InvalidRequestError } from "../requests/errors.ts";
import { WorkerDiedError } from "../engine/errors.ts";

/** Somebody asked for this request to stop: a DELETE, a client that left, or a drain that ended. */
export class CancelledError extends Error {
  override readonly name = "CancelledError";
}

/** The server cannot take requests now: it is shutting down, or the model is being reopened. */
export class UnavailableError extends Error {
  override readonly name = "UnavailableError";
  constructor(message: string, readonly retryAfterSeconds = 5) {
    super(message);
  }
}

/** The request as HTTP is wrong, before any field of it is looked at. */
export class HttpError extends Error {
  override readonly name = "HttpError";
  constructor(
    readonly status: number,
    readonly type: string,
    message: string,
    readonly headers: Readonly<Record<string, string>> = {},
    readonly param?: string,
  ) {
    super(message);
  }
}

/** What `parseConfig` ends in when there is nothing to serve: `--help`, or a flag that is wrong. */
export class ConfigExit extends Error {
  override readonly name = "ConfigExit";
  constructor(readonly code: number, message: string) {
    super(message);
  }
}

/** Why a start stopped; the message is for the person who started it. */
export class StartError extends Error {
  override readonly name = "StartError";
}

/** The body of every answer that is not a success. `param` names the field at fault. */
export interface ErrorBody {
  readonly error: {
    readonly type: string;
    readonly message: string;
    readonly param?: string | undefined;
  };
}

export interface ErrorResponse {
  readonly status: number;
  readonly body: ErrorBody;
  readonly headers: Readonly<Record<string, string>>;
  /** True where the server is at fault: the log gets the stack, the client the message only. */
  readonly unexpected: boolean;
}

interface Rule {
  readonly is: (error: Error) => boolean;
  readonly status: number;
  readonly type: string;
  /** Shown instead of the error's own message, which may tell too much. */
  readonly message?: string;
  readonly unexpected?: boolean;
}

const rules: readonly Rule[] = [
  { is: instance(InvalidRequestError), status: 422, type: "invalid_request_error" },
  { is: instance(BusyError), status: 429, type: "busy_error" },
  { is: instance(CancelledError), status: 499, type: "cancelled_error" },
  { is: instance(UnavailableError), status: 503, type: "unavailable_error" },
  {
    is: instance(DeviceLostError),
    status: 503,
    type: "device_lost_error",
    message: "The GPU device was lost while the request ran; the model is being reopened",
    unexpected: true,
  },
  {
    is: instance(WorkerDiedError),
    status: 503,
    type: "engine_error",
    message: "The engine stopped while the request ran; the model is being reopened",
    unexpected: true,
  },
  {
    is: instance(OutOfDeviceMemoryError),
    status: 503,
    type: "out_of_memory_error",
    message: "The GPU has not enough memory for this request; try a smaller size or fewer images",
    unexpected: true,
  },
];

const fallbackRetrySeconds = 5;

/** The answer to `thrown`. Never throws, and never shows an unknown error's text to the client. */
export function toErrorResponse(thrown: unknown): ErrorResponse {
  if (thrown instanceof HttpError) {
    return answer(thrown.status, thrown.type, thrown.message, thrown.param, thrown.headers);
  }
  if (thrown instanceof HTTPException) {
    return answer(thrown.status, typeOfStatus(thrown.status), thrown.message || "Request refused");
  }
  const rule = thrown instanceof Error ? rules.find((rule) => rule.is(thrown)) : undefined;
  if (rule === undefined) {
    return {
      ...answer(500, "server_error", "The server failed to answer; its log has the reason"),
      unexpected: true,
    };
  }
  const error = thrown as Error & { param?: string; retryAfterSeconds?: number };
  const headers: Record<string, string> = {};
  if (rule.status === 429 || rule.status === 503) {
    headers["Retry-After"] = String(Math.ceil(error.retryAfterSeconds ?? fallbackRetrySeconds));
  }
  return {
    ...answer(rule.status, rule.type, rule.message ?? error.message, error.param, headers),
    unexpected: rule.unexpected ?? false,
  };
}

function answer(
  status: number,
  type: string,
  message: string,
  param?: string,
  headers: Readonly<Record<string, string>> = {},
): ErrorResponse {
  const error = param === undefined ? { type, message } : { type, message, param };
  return { status, body: { error }, headers, unexpected: false };
}

function instance(constructor: abstract new (...args: never[]) => Error): Rule["is"] {
  return (error) => error instanceof constructor;
}

function typeOfStatus(status: number): string {
  return status < 500 ? "invalid_request_error" : "server_error";
}
