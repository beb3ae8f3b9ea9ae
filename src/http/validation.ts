/** What a refused body says to the client. */

import type { Hook } from "@hono/zod-openapi";
import { shorten, toInvalidRequest } from "../requests/schema.ts";
import { HttpError } from "./errors.ts";

/** For OpenAPIHono's `defaultHook`: turns a failed validation into the error that says so. */
// deno-lint-ignore no-explicit-any -- the hook serves routes of every input and output type
export const rejectInvalid: Hook<any, any, any, any> = (result) => {
  if (!result.success) throw toInvalidRequest(result.error);
};

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
