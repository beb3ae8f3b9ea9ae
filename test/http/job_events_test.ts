/** What a job tells: places in one line that only fall, progress, and always its end. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { BusyError } from "../../src/requests/errors.ts";
import { resolveRequest } from "../../src/requests/request.ts";
import { Admission } from "../../src/engine/admission.ts";
import type { GenerateOptions } from "../../src/engine/types.ts";
import { type JobEvent, JobEvents } from "../../src/http/job_events.ts";
import { type Job, Jobs } from "../../src/http/jobs.ts";
import { FakeEngine } from "./fake_engine.ts";
import { allEvents, until, withApp } from "./fixture.ts";

const request = resolveRequest({ prompt: "a cat", seed: 1 }, new FakeEngine().status());

/** Collects a job's events as they come. */
function reader(job: Job) {
  const events: JobEvent[] = [];
  const done = (async () => {
    for await (const event of job.events()) events.push(event);
  })();
  const places = () => events.flatMap((event) => event.type === "queued" ? [event.position] : []);
  return { events, done, places };
}

function assertFalling(places: readonly number[]) {
  for (const [i, place] of places.entries()) {
    assert.ok(i === 0 || place < places[i - 1]!, `places rise or repeat: ${places}`);
  }
}

Deno.test("a waiting job hears each change of its place, and its end last", async () => {
  const engine = new FakeEngine();
  const { promise, resolve } = Promise.withResolvers<void>();
  engine.gate = promise;
  const jobs = new Jobs(engine, { maxConcurrency: 1, maxQueue: 10 });
  const submitted = [1, 2, 3].map(() => jobs.submit(request));
  const [first, second, third] = submitted.map(reader);
  await until(() => third!.places().length === 1, "the places are told");
  assert.deepEqual([first, second, third].map((each) => each!.places()), [[0], [1], [2]]);
  assert.equal(jobs.cancel(submitted[1]!.id), "cancelled");
  await second!.done;
  assert.equal(second!.events.at(-1)!.type, "failed");
  assert.deepEqual(third!.places(), [2, 1]);
  resolve();
  await third!.done;
  assert.deepEqual(third!.places(), [2, 1, 0]);
  const steps = third!.events.filter(({ type }) => type === "progress");
  assert.equal(steps.length, 4);
  const last = third!.events.at(-1)!;
  assert.ok(last.type === "completed" && last.result === await submitted[2]!.result);
});

/** An engine whose requests wait for memory as in the real one, with room for so many. */
function withMemory(room: number): FakeEngine {
  const engine = new FakeEngine();
  const admission = new Admission({ budget: room, maxWaiting: 100 });
  const run = engine.run.bind(engine);
  engine.run = async (asked, options: GenerateOptions = {}) => {
    // Measuring what a request needs takes its time, and some requests' is known.
    for (let k = 0; k < (asked.seed * 7) % 3; k++) await Promise.resolve();
    const leave = await admission.admit({ base: () => 0, share: 1 }, options);
    try {
      return await run(asked, options);
    } finally {
      leave();
    }
  };
  return engine;
}

Deno.test("a place only falls, though jobs wait for a turn and then for memory", async () => {
  let waitedInside = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          steps: fc.integer({ min: 1, max: 3 }),
          pause: fc.integer({ min: 0, max: 2 }),
          cancelled: fc.boolean(),
        }),
        { minLength: 4, maxLength: 12 },
      ),
      fc.integer({ min: 1, max: 2 }),
      fc.integer({ min: 2, max: 5 }),
      async (arrivals, room, maxConcurrency) => {
        const jobs = new Jobs(withMemory(room), { maxConcurrency, maxQueue: 100 });
        const readers = [];
        for (const [seed, { steps, pause, cancelled }] of arrivals.entries()) {
          const job = jobs.submit({ ...request, seed, numInferenceSteps: steps });
          readers.push({ ...reader(job), cancelled });
          const { active, waiting } = jobs.counts();
          assert.ok(active <= room);
          waitedInside += Number(waiting > 0 && active + waiting <= maxConcurrency);
          for (let k = 0; k < pause; k++) await new Promise((done) => setTimeout(done, 0));
          if (cancelled) jobs.cancel(job.id);
        }
        for (const { done, events, places, cancelled } of readers) {
          await done;
          assertFalling(places());
          const end = events.at(-1)!.type;
          if (!cancelled) assert.equal(places().at(-1), 0);
          if (!cancelled) assert.equal(end, "completed");
        }
        assert.deepEqual([jobs.counts().active, jobs.counts().waiting], [0, 0]);
      },
    ),
    { seed: 11, numRuns: 30 },
  );
  assert.ok(waitedInside > 0, "no job waited for memory");
});

Deno.test("a slow reader misses old progress and old previews, never the end", async () => {
  const preview = { width: 1, height: 1, data: new Uint8Array(3) };
  const events = new JobEvents();
  events.push({ type: "queued", position: 2 });
  events.push({ type: "queued", position: 0 });
  for (let step = 1; step <= 1000; step++) {
    const at = { step, steps: 1000, timestep: 0, sigma: 0 };
    events.push({ type: "progress", ...at, previews: [preview] });
  }
  const error = new BusyError("the end");
  events.push({ type: "failed", error });
  const read: JobEvent[] = [];
  for await (const event of events) read.push(event);
  assert.deepEqual(read[0], { type: "queued", position: 0 });
  assert.deepEqual(read.at(-1), { type: "failed", error });
  const progress = read.slice(1, -1);
  assert.deepEqual(
    progress.map((event) => event.type === "progress" && event.step),
    Array.from({ length: 32 }, (_, i) => 969 + i),
  );
  const pictured = progress.map((event) => event.type === "progress" && !!event.previews);
  assert.deepEqual(pictured, progress.map((_, i) => i >= 28));
});

Deno.test("who reads late hears the present place, or the end alone", async () => {
  const engine = new FakeEngine();
  const { promise, resolve } = Promise.withResolvers<void>();
  engine.gate = promise;
  const jobs = new Jobs(engine, { maxConcurrency: 1, maxQueue: 5 });
  const job = jobs.submit(request);
  await until(() => engine.requests.length === 1, "it runs");
  const running = reader(job);
  resolve();
  await job.result;
  const late = reader(job);
  await Promise.all([running.done, late.done]);
  assert.deepEqual(running.places(), [0]);
  assert.deepEqual(late.events.map(({ type }) => type), ["queued", "completed"]);
  for await (const event of job.events()) {
    assert.equal(event.type, "queued");
    break;
  }
});

Deno.test("a client that does not read holds up nobody and still gets the end", async () => {
  await withApp({}, async ({ post, engine, jobs }) => {
    const body = { prompt: "a", num_inference_steps: 120, preview_every: 1, stream: true };
    const response = await post("/api/diffusers/inference", body);
    await until(() => engine.steps === 120 && jobs.counts().active === 0, "the job is done");
    const events = await allEvents(response);
    assert.equal(events.at(-1)!.event, "completed");
    const progress = events.filter(({ event }) => event === "progress");
    assert.ok(progress.length < 60, `${progress.length} events waited for the client`);
    assert.equal(progress.at(-1)!.data.step, 120);
  });
});
