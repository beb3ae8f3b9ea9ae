/** Where a request enters: every value checked and defaults filled in, once, before any GPU work. */
import { z } from "zod";
import { InvalidRequestError } from "./errors.ts";
import { defaultOf, fields, rows, snakeCase } from "./fields.ts";
import { fromJson, toJson } from "./json.ts";
import type { RequestRules } from "./model_info.ts";
import { fieldSchemas, toInvalidRequest } from "./schema.ts";
import type { GenerateRequest, ResolvedRequest } from "./types.ts";

/**
 * Checks every field and fills in the model's defaults.
 *
 * @throws {InvalidRequestError} naming the field in diffusers' words, and what is allowed
 */
export function resolveRequest(request: GenerateRequest, rules: RequestRules): ResolvedRequest {
  const unknown = Object.keys(request).find((name) => !Object.hasOwn(fields, name));
  if (unknown !== undefined) throw new InvalidRequestError(unknown, `Unknown field "${unknown}"`);
  const checked = z.object(fieldSchemas(rules)).safeParse(toJson(request));
  if (!checked.success) throw toInvalidRequest(checked.error);
  return completeRequest(fromJson(checked.data), rules);
}

/**
 * The second half of `resolveRequest`, for fields that `fieldSchemas` has passed already.
 *
 * @throws {InvalidRequestError} where fields contradict each other
 */
export function completeRequest(request: GenerateRequest, rules: RequestRules): ResolvedRequest {
  const { sigmas, numInferenceSteps: steps } = request;
  if (sigmas && steps !== undefined && steps !== sigmas.length) {
    throw new InvalidRequestError(
      "sigmas",
      `sigmas has ${sigmas.length} values but num_inference_steps is ${steps}: give one of the two`,
    );
  }
  const given: Record<string, unknown> = { ...request, numInferenceSteps: steps ?? sigmas?.length };
  const resolved: Record<string, unknown> = {};
  for (const { name, json, field } of rows) {
    let value = given[name];
    if (field.needs !== undefined && resolved[field.needs] === undefined) {
      if (value === undefined) continue;
      throw new InvalidRequestError(json, `${json}: needs ${snakeCase(field.needs)}`);
    }
    value ??= field.like === undefined ? defaultOf(field, rules) : resolved[field.like];
    if (value !== undefined) resolved[name] = field.settle?.(value as never) ?? value;
  }
  return resolved as unknown as ResolvedRequest;
}
