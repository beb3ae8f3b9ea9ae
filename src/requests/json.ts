/** Requests as JSON in diffusers' words: bodies, answers' parameters, PNG files. */
import { rows } from "./fields.ts";
import type { GenerateRequest, ResolvedRequest } from "./types.ts";

/** The fields that have a value, by their JSON names. */
export function toJson(
  request: Partial<GenerateRequest> | ResolvedRequest,
): Record<string, unknown> {
  return Object.fromEntries(
    rows.map(({ name, json }) => [json, request[name]]).filter(([, value]) => value !== undefined),
  );
}

/** The fields of the table in a body; those that are absent or null stay away. */
export function fromJson(body: Readonly<Record<string, unknown>>): GenerateRequest {
  return Object.fromEntries(
    rows.map(({ name, json }) => [name, body[json] ?? undefined])
      .filter(([, value]) => value !== undefined),
  );
}

/** What draws one image of a request again, alone or not: batches do not change an image. */
export function imageParameters(request: ResolvedRequest, seed: number): Record<string, unknown> {
  return toJson({ ...request, seed, numImagesPerPrompt: 1 });
}
