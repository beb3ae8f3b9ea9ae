import assert from "node:assert/strict";
import type { ResolvedRequest } from "../../src/requests/types.ts";
import { eventError } from "../../src/web/api.ts";
import { formatBytes, formatSeconds } from "../../src/web/format.ts";
import { fromJson, toJson } from "../../src/requests/json.ts";
import { requestOfImage, toCurl } from "../../src/web/wire.ts";

const parameters = {
  prompt: "it's",
  prompt_2: "it's",
  negative_prompt: "",
  height: 64,
  width: 48,
  num_inference_steps: 6,
  guidance_scale: 4.5,
  num_images_per_prompt: 3,
  max_sequence_length: 24,
  seed: 40,
};

Deno.test("an answer's parameters become a request for one of its images", () => {
  const resolved = fromJson(parameters) as ResolvedRequest;
  assert.equal(resolved.numInferenceSteps, 6);
  assert.equal(resolved.prompt2, "it's");
  const request = requestOfImage(resolved, 42);
  assert.deepEqual(toJson(request), {
    prompt: "it's",
    height: 64,
    width: 48,
    num_inference_steps: 6,
    guidance_scale: 4.5,
    num_images_per_prompt: 1,
    max_sequence_length: 24,
    seed: 42,
  });
});

Deno.test("absent fields stay absent, zero and the empty prompt do not", () => {
  assert.deepEqual(toJson({ prompt: "", seed: 0, guidanceScale: 0 }), {
    prompt: "",
    seed: 0,
    guidance_scale: 0,
  });
});

Deno.test("the curl command survives a shell, whatever the prompt", async () => {
  const prompt = `it's "two" $HOME \`id\` \\ 'quoted'\nlines`;
  const command = toCurl({ prompt }, "http://localhost:8500/", false)
    .replace(/^curl/, "printf '%s\\n'");
  const { stdout } = await new Deno.Command("sh", { args: ["-c", command] }).output();
  const words = new TextDecoder().decode(stdout);
  assert.match(words, /http:\/\/localhost:8500\/api\/diffusers\/inference/);
  const body = words.slice(words.indexOf("{"), words.lastIndexOf("}") + 1);
  assert.deepEqual(JSON.parse(body), { prompt });
  assert.match(toCurl({ prompt }, "http://localhost/", true), /Bearer \$API_KEY/);
});

Deno.test("events of failure are told apart by their type", () => {
  const kind = (type: string, param?: string) =>
    eventError({ error: { type, message: "m", param } }).kind;
  assert.equal(kind("invalid_request_error", "width"), "rejected");
  assert.equal(kind("busy_error"), "busy");
  assert.equal(kind("device_lost_error"), "lost");
  assert.equal(kind("engine_error"), "lost");
  assert.equal(kind("server_error"), "failed");
  assert.equal(eventError({}).kind, "failed");
});

Deno.test("sizes and durations as they are written", () => {
  assert.deepEqual([0, 999, 1024, 1536, 32_715_161, 8 * 2 ** 30].map(formatBytes), [
    "0 B",
    "999 B",
    "1.00 KB",
    "1.50 KB",
    "31.2 MB",
    "8.00 GB",
  ]);
  assert.deepEqual([0.04, 9.94, 9.96, 59.6, 185].map(formatSeconds), [
    "0.0 s",
    "9.9 s",
    "10 s",
    "1 min 00 s",
    "3 min 05 s",
  ]);
});
