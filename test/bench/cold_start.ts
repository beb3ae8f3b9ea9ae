/**
 * A process that has never run before: opens the fixture and makes two images. Run by
 * `cold_start_bench.ts` with a shader cache of its own.
 */
// deno-lint-ignore-file no-console
import { fileURLToPath } from "node:url";
import { prepareAdapter } from "../../adapter.ts";
import { openEngine } from "../../src/engine/engine.ts";
import { directorySource } from "../../src/weights/deno_source.ts";

prepareAdapter();
const started = performance.now();
const engine = await openEngine(
  directorySource(fileURLToPath(new URL("../../fixtures/sd35-tiny", import.meta.url))),
);
const request = { prompt: "a red circle", numInferenceSteps: 20, guidanceScale: 4, seed: 7 };
const opened = performance.now();
await engine.generate(request);
const first = performance.now();
await engine.generate({ ...request, prompt: "a green square" });
const second = performance.now();
console.log(JSON.stringify({
  loading: opened - started,
  "first image": first - opened,
  "second image": second - first,
}));
Deno.exit(0);
