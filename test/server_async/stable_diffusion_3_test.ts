/** Our own pipeline needs no request-scoped view, and can be given one all the same. */
import assert from "node:assert/strict";
import { RequestScopedPipeline } from "../../src/server_async/request_scoped.ts";
import { gpu, loop, model, openPipeline, pngs, requests } from "../pipeline/small_requests.ts";

const pipeline = openPipeline();
const list = requests.slice(0, 4);

Deno.test("requests on views beside each other make the pictures of the pipeline itself", async () => {
  loop.reset(8);
  const expected: string[] = [];
  for (const request of list) expected.push(pngs(await pipeline.generate(request)));
  const { scheduler, components, promptCache } = pipeline;
  for (const wrapScheduler of [true, false]) {
    const scoped = new RequestScopedPipeline(pipeline, { wrapScheduler });
    const results = await Promise.all(list.map((request) => scoped.generate(request)));
    assert.deepEqual(results.map(pngs), expected);
  }
  assert.ok(loop.turns.some(({ images }) => images > 1), "nothing ran together");
  assert.equal(pipeline.scheduler, scheduler);
  assert.equal(scheduler.numInferenceSteps, undefined);
  assert.equal(pipeline.components, components);
  assert.equal(pipeline.promptCache, promptCache);
  assert.equal(pipeline.model, model);
  assert.equal(gpu.ledger.bytes("requests"), 0);
});

Deno.test("a view shares the networks and owns its scheduler and tokenizers", () => {
  const view = new RequestScopedPipeline(pipeline).createView(list[0]!);
  assert.equal(view.components.transformer, pipeline.components.transformer);
  assert.equal(view.batcher, pipeline.batcher);
  assert.notEqual(view.scheduler, pipeline.scheduler);
  assert.equal(view.scheduler.numInferenceSteps, list[0]!.numInferenceSteps);
  assert.notEqual(view.model.tokenizers.clipL, pipeline.model.tokenizers.clipL);
});
