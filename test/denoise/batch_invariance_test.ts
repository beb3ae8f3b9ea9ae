/**
 * An image has the same PNG bytes whether its request ran alone or beside any others, whoever joins,
 * leaves or gives up, in whatever order.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { StableDiffusion3Pipeline } from "../../src/pipeline/stable_diffusion_3.ts";
import type { GenerateRequest } from "../../src/requests/types.ts";
import {
  gpu,
  loop,
  openPipeline,
  pngs,
  requests,
  stochasticModel,
} from "../pipeline/small_requests.ts";

const seed = 7;

/** Each request's PNG bytes when it has the device for itself. */
async function alone(pipeline: StableDiffusion3Pipeline, list: readonly GenerateRequest[]) {
  loop.reset(8);
  const results: string[] = [];
  for (const request of list) results.push(pngs(await pipeline.generate(request)));
  return results;
}

/** Encodes between steps, and a step while the one before runs. */
const [pipeline, ahead] = [false, true].map((recordAhead) =>
  openPipeline(undefined, undefined, { recordAhead })
) as [StableDiffusion3Pipeline, StableDiffusion3Pipeline];
const expected = await alone(pipeline, requests);
const stochastic = openPipeline(stochasticModel, undefined, { recordAhead: true });
const plain = requests[0]!;

Deno.test("different requests make different images", () => {
  assert.equal(new Set(expected).size, requests.length);
});

for (const count of [2, 3, 8]) {
  Deno.test(`a batch of ${count}: every image as alone`, async () => {
    const list = Array.from({ length: count }, (_, i) => ({ ...plain, seed: 100 + i }));
    const single = await alone(pipeline, list);
    loop.reset(8);
    const results = await Promise.all(list.map((request) => pipeline.generate(request)));
    assert.deepEqual(results.map(pngs), single);
    assert.ok(loop.turns.some(({ images }) => images === count), "no such batch was made");
  });
}

Deno.test("guidance, none, skipped layers, several images and sizes side by side", async () => {
  for (const maxBatch of [8, 3]) {
    loop.reset(maxBatch);
    const results = await Promise.all(requests.map((request) => pipeline.generate(request)));
    assert.deepEqual(results.map(pngs), expected);
    assert.ok(loop.turns.some(({ images }) => images === Math.min(maxBatch, 6)));
    assert.ok(loop.turns.every(({ images }) => images <= maxBatch));
  }
});

Deno.test("previews do not change what they show", async () => {
  loop.reset(8);
  const results = await Promise.all(
    requests.slice(0, 3).map((request) =>
      pipeline.generate(request, { previewEvery: 1, onProgress: () => {} })
    ),
  );
  assert.deepEqual(results.map(pngs), expected.slice(0, 3));
});

interface Arrival {
  readonly which: number;
  /** Starts when the arrival before it has done so many steps. */
  readonly after: number;
  /** Gives up after so many steps, if it has as many. */
  readonly giveUp: number | undefined;
}

/** Runs a schedule of arrivals; a result is the PNG bytes, or undefined for one that gave up. */
async function run(of: StableDiffusion3Pipeline, schedule: readonly Arrival[]) {
  const results: (string | undefined)[] = schedule.map(() => undefined);
  const started = schedule.map(() => Promise.withResolvers<void>());
  await Promise.all(schedule.map(async ({ which, giveUp }, i) => {
    const next = schedule[i + 1];
    const startNext = () => started[i + 1]?.resolve();
    if (i > 0) await started[i]!.promise;
    if (!next || next.after === 0) startNext();
    const stop = new AbortController();
    try {
      const result = await of.generate(requests[which]!, {
        signal: stop.signal,
        onProgress: (event) => {
          if (event.type !== "progress") return;
          const { step } = event;
          if (next && step >= next.after) startNext();
          if (step === giveUp) stop.abort(new Error("gave up"));
        },
      });
      results[i] = pngs(result);
    } catch (error) {
      if (!stop.signal.aborted) throw error;
      assert.equal((error as Error).message, "gave up");
    } finally {
      startNext();
    }
  }));
  return results;
}

const arrival = fc.record({
  which: fc.integer({ min: 0, max: requests.length - 1 }),
  after: fc.constantFrom(0, 0, 1, 2),
  giveUp: fc.option(fc.integer({ min: 1, max: 2 }), { nil: undefined, freq: 4 }),
});

Deno.test("requests that join, leave and give up midway, in random order", async () => {
  const sizes = new Set<number>();
  await fc.assert(
    fc.asyncProperty(
      fc.array(arrival, { minLength: 4, maxLength: 8 }),
      fc.constantFrom(2, 3, 8),
      fc.constantFrom(ahead, pipeline),
      async (schedule, maxBatch, of) => {
        loop.reset(maxBatch);
        const results = await run(of, schedule);
        for (const [i, { which, giveUp }] of schedule.entries()) {
          if (results[i] === undefined) assert.notEqual(giveUp, undefined);
          else assert.equal(results[i], expected[which], `arrival ${i}, request ${which}`);
        }
        for (const { images } of loop.turns) sizes.add(images);
      },
    ),
    { seed, numRuns: 6 },
  );
  assert.ok(sizes.has(1) && sizes.size >= 3, `batches of ${[...sizes]} only`);
});

Deno.test("fresh noise at every step: the same bytes in a batch joined midway", async () => {
  const single = await alone(stochastic, requests.slice(0, 3));
  assert.notDeepEqual(single, expected.slice(0, 3), "the noise makes no difference");
  loop.reset(8);
  const results = await run(stochastic, [
    { which: 0, after: 0, giveUp: undefined },
    { which: 1, after: 1, giveUp: undefined },
    { which: 2, after: 0, giveUp: undefined },
    { which: 0, after: 1, giveUp: 1 },
    { which: 0, after: 0, giveUp: undefined },
  ]);
  assert.deepEqual(results, [single[0], single[1], single[2], undefined, single[0]]);
  assert.ok(loop.turns.some(({ images }) => images > 1));
});

Deno.test("everything is given back", () => {
  assert.equal(gpu.ledger.bytes("requests"), 0);
});
