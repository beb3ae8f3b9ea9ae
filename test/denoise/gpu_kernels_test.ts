/** With the kernels made for GPUs, too, an image has the same PNG bytes alone and in a batch. */
import assert from "node:assert/strict";
import { chosen } from "../chosen_kernels.ts";

chosen.kernels = "gpu";
const { gpu, loop, openPipeline, pngs, requests } = await import("../pipeline/small_requests.ts");

Deno.test("kernels made for GPUs: with guidance and without, as alone", async () => {
  assert.equal(gpu.family, "gpu");
  const pipeline = openPipeline();
  const small = { height: 16, width: 16, numInferenceSteps: 2 };
  const some = requests.slice(0, 2).map((request) => ({ ...request, ...small }));
  const expected: string[] = [];
  for (const request of some) expected.push(pngs(await pipeline.generate(request)));
  assert.notEqual(expected[0], expected[1]);
  loop.reset(8);
  const results = await Promise.all(some.map((request) => pipeline.generate(request)));
  assert.deepEqual(results.map(pngs), expected);
  assert.ok(loop.turns.some(({ images }) => images === 2), "no such batch was made");
});
