import { rows } from "../requests/fields.ts";
import { toJson } from "../requests/json.ts";
import type { GenerateRequest, ResolvedRequest } from "../requests/types.ts";

/** The request that draws one image again: its own seed, alone. Batches do not change an image. */
export function requestOfImage(parameters: ResolvedRequest, seed: number): GenerateRequest {
  const told = rows.filter(({ name, field }) => {
    const usual = field.like === undefined ? field.default : parameters[field.like as "prompt"];
    return parameters[name] !== usual;
  }).map(({ name }) => [name, parameters[name]]);
  return { prompt: "", ...Object.fromEntries(told), numImagesPerPrompt: 1, seed };
}

/** A shell command that asks the server at `base` for the same image. */
export function toCurl(request: GenerateRequest, base: string, withKey: boolean): string {
  const lines = [
    `curl -s ${quote(new URL("api/diffusers/inference", base).href)}`,
    `-H 'Content-Type: application/json'`,
    ...(withKey ? [`-H "Authorization: Bearer $API_KEY"`] : []),
    `-d ${quote(JSON.stringify(toJson(request)))}`,
  ];
  return lines.join(" \\\n  ");
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
