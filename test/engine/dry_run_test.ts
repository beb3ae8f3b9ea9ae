/** Dry runs plan real models for adapters that are not here, and say whether they fit. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { dryRun } from "../../src/engine/dry_run.ts";
import { type AdapterProfile, adapterProfiles } from "../../src/gpu/profiles.ts";
import { InvalidRequestError } from "../../src/requests/errors.ts";
import { type RepositoryName, syntheticModel } from "../../src/models/sd3/synthetic.ts";
import { directorySource } from "../../src/weights/deno_source.ts";

const tokenizers = directorySource(
  fileURLToPath(new URL("../../fixtures/sd35-tiny", import.meta.url)),
);
const request = { prompt: "a capybara", seed: 0, numInferenceSteps: 2 };

async function plan(name: RepositoryName, profile?: AdapterProfile, size = {}) {
  const source = await syntheticModel(name, tokenizers);
  return await dryRun(source, { ...request, ...size }, { profile });
}

Deno.test("a dry run at real size adds up, and fits a card that is large enough", async () => {
  const { memory, fits, reason } = await plan(
    "stable-diffusion-3.5-medium",
    adapterProfiles.nvidia,
  );
  const { weights, arena, workspace, total } = memory;
  assert.equal(weights + arena + workspace + memory.request, total);
  assert.ok(weights > 15.9e9 && weights < 16.5e9, `${weights} bytes of weights`);
  assert.equal(memory.available, 24e9);
  assert.deepEqual({ fits, reason }, { fits: true, reason: null });
});

Deno.test("a dry run for a card that is too small says what is too much", async () => {
  const { memory, fits, reason } = await plan("stable-diffusion-3.5-large", adapterProfiles.amd);
  assert.ok(memory.total > 24e9);
  assert.equal(fits, false);
  assert.match(
    reason!,
    new RegExp(`${memory.total} bytes are more than the adapter's 24000000000`),
  );
});

Deno.test("a dry run of what cannot be bound still says how much memory it would take", async () => {
  const profile = adapterProfiles["browser-default"];
  const { memory, fits, reason } = await plan("stable-diffusion-3.5-large", profile);
  assert.ok(memory.total > 25e9);
  assert.equal(memory.available, null);
  assert.equal(fits, false);
  assert.match(reason!, /larger than this device binds \(134217728\)/);
});

Deno.test("without a profile nothing bounds the memory", async () => {
  const { memory, fits } = await plan("stable-diffusion-3-medium");
  assert.deepEqual({ available: memory.available, fits }, { available: null, fits: true });
});

Deno.test("a dry run plans for the family of kernels that it is told", async () => {
  const arenas = await Promise.all((["auto", "gpu", "software"] as const).map(async (kernels) => {
    const { memory } = await dryRun(tokenizers, request, { kernels });
    return memory.arena;
  }));
  assert.equal(arenas[0], arenas[1]);
  assert.notEqual(arenas[1], arenas[2]);
});

Deno.test("a dry run refuses what is no request", async () => {
  const size = { height: 1000 };
  await assert.rejects(plan("stable-diffusion-3-medium", undefined, size), InvalidRequestError);
});
