/** What a failed validation says to the client: which field, what it was, what is allowed. */

import type { Hook } from "@hono/zod-openapi";
import type { z } from "@hono/zod-openapi";
import { InvalidRequestError } from "../requests/errors.ts";
import { HttpError } from "./errors.ts";

/** Problems named in one message; the client repairs them one after another anyway. */
const MAX_NAMED = 5;

/** For OpenAPIHono's `defaultHook`: turns a failed validation into the error that says so. */
// deno-lint-ignore no-explicit-any -- the hook serves routes of every input and output type
export const rejectInvalid: Hook<any, any, any, any> = (result) => {
  if (!result.success) throw toInvalidRequest(result.error as z.ZodError);
};

function toInvalidRequest(error: z.ZodError): InvalidRequestError {
  const texts = error.issues.slice(0, MAX_NAMED).map(describe);
  const more = error.issues.length - texts.length;
  if (more > 0) texts.push(`and ${more} more`);
  const first = error.issues[0];
  const param = first?.code === "unrecognized_keys"
    ? shorten(first.keys[0] ?? "")
    : pathOf(first?.path ?? []);
  return new InvalidRequestError(param, texts.join("; "));
}

function describe(issue: z.core.$ZodIssue): string {
  if (issue.code === "unrecognized_keys") {
    const keys = issue.keys.slice(0, MAX_NAMED).map((key) => `"${shorten(key)}"`);
    return `unknown field ${keys.join(", ")}: GET /openapi.json lists what is allowed`;
  }
  const path = pathOf(issue.path);
  // Zod's own words stay for types ("expected string, received number"); "undefined" is no JSON.
  const message = issue.message.endsWith("received undefined") ? "is required" : issue.message;
  return path === "" ? message : `${path}: ${message}`;
}

function pathOf(path: readonly PropertyKey[]): string {
  return path.map((part) => typeof part === "number" ? `[${part}]` : String(part)).join(".")
    .replaceAll(".[", "[");
}

function shorten(text: string): string {
  return text.length <= 64 ? text : `${text.slice(0, 64)}...`;
}

/** @throws {HttpError} 400 for a prompt of nothing but white space */
export function checkPrompt({ prompt }: { readonly prompt: string }): void {
  if (prompt.trim() === "") {
    throw new HttpError(400, "invalid_request_error", "prompt: No prompt provided", {}, "prompt");
  }
}

/** @throws {HttpError} 404 for the name of a model that is not the loaded one */
export function checkModel(model: string | null | undefined, loaded: string): void {
  // "organisation/name" and "name" are the same model.
  const lastPart = (name: string) => name.replace(/\/+$/, "").split("/").at(-1)?.toLowerCase();
  if (model != null && model !== "" && lastPart(model) !== lastPart(loaded)) {
    throw new HttpError(
      404,
      "model_not_found_error",
      `model: "${shorten(model)}" is not loaded; this server answers with "${loaded}"`,
      {},
      "model",
    );
  }
}
