import type { GenerateRequest, ResolvedRequest } from "../requests/types.ts";

/** Fields of a request that the form offers, with their names on the wire (diffusers' words). */
const WIRE_NAMES = {
  prompt: "prompt",
  negativePrompt: "negative_prompt",
  height: "height",
  width: "width",
  numInferenceSteps: "num_inference_steps",
  guidanceScale: "guidance_scale",
  numImagesPerPrompt: "num_images_per_prompt",
  maxSequenceLength: "max_sequence_length",
  seed: "seed",
} as const satisfies Partial<Record<keyof GenerateRequest, string>>;

/** The JSON body of a request; absent fields stay absent, so the server's defaults hold. */
export function toWire(request: GenerateRequest): Record<string, unknown> {
  const body: Record<string, unknown> = {};
  for (const [name, wireName] of Object.entries(WIRE_NAMES)) {
    const value = request[name as keyof typeof WIRE_NAMES];
    if (value !== undefined) body[wireName] = value;
  }
  return body;
}

/** The resolved request out of a server's `parameters`, or of a part of it. */
export function fromWire(parameters: Record<string, unknown>): ResolvedRequest {
  const request: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(parameters)) {
    request[name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())] = value;
  }
  return request as unknown as ResolvedRequest;
}

/** The request that draws one image again: its own seed, alone. Batches do not change an image. */
export function requestOfImage(parameters: ResolvedRequest, seed: number): GenerateRequest {
  const request: Record<string, unknown> = { numImagesPerPrompt: 1, seed };
  for (const name of Object.keys(WIRE_NAMES) as (keyof typeof WIRE_NAMES)[]) {
    if (name in request || parameters[name] === undefined) continue;
    if (name === "negativePrompt" && parameters[name] === "") continue;
    request[name] = parameters[name];
  }
  return request as unknown as GenerateRequest;
}

/** A shell command that asks the server at `base` for the same image. */
export function toCurl(request: GenerateRequest, base: string, withKey: boolean): string {
  const lines = [
    `curl -s ${quote(new URL("api/diffusers/inference", base).href)}`,
    `-H 'Content-Type: application/json'`,
    ...(withKey ? [`-H "Authorization: Bearer $API_KEY"`] : []),
    `-d ${quote(JSON.stringify(toWire(request)))}`,
  ];
  return lines.join(" \\\n  ");
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
