import assert from "node:assert/strict";
import { CancelledError, UnavailableError } from "../../src/http/errors.ts";
import { type JobOutcome, Jobs } from "../../src/http/jobs.ts";
import { BusyError, InvalidRequestError } from "../../src/requests/errors.ts";
import { resolveRequest } from "../../src/requests/request.ts";
import { FakeEngine } from "./fake_engine.ts";
import { until } from "./fixture.ts";

const request = resolveRequest({ prompt: "a cat", seed: 1 }, new FakeEngine().status());

/** An engine whose steps wait until the returned function is called. */
function gated(): { engine: FakeEngine; release: () => void } {
  const engine = new FakeEngine();
  const { promise, resolve } = Promise.withResolvers<void>();
  engine.gate = promise;
  return { engine, release: resolve };
}

Deno.test("Jobs runs up to maxConcurrency at once and queues the rest in order", async () => {
  const { engine, release } = gated();
  const jobs = new Jobs(engine, { maxConcurrency: 2, maxQueue: 10 });
  const order: number[] = [];
  const all = [1, 2, 3, 4, 5].map((seed) => {
    const job = jobs.submit({ ...request, seed, numInferenceSteps: seed });
    return job.result.then(() => order.push(seed));
  });
  assert.deepEqual(jobs.counts(), { total: 5, active: 2, waiting: 3 });
  release();
  await Promise.all(all);
  assert.equal(engine.mostActive, 2);
  assert.deepEqual(order, [1, 2, 3, 4, 5]);
  assert.deepEqual(jobs.counts(), { total: 5, active: 0, waiting: 0 });
});

Deno.test("Jobs refuses what the queue does not hold, and says when to come back", async () => {
  const { engine, release } = gated();
  const jobs = new Jobs(engine, { maxConcurrency: 1, maxQueue: 1 });
  const first = jobs.submit(request);
  const second = jobs.submit(request);
  assert.throws(() => jobs.submit(request), (error: unknown) => {
    assert.ok(error instanceof BusyError);
    assert.ok(error.retryAfterSeconds >= 1);
    assert.match(error.message, /1 requests are running and 1 are waiting/);
    return true;
  });
  release();
  await Promise.all([first.result, second.result]);
  await jobs.submit(request).result;
});

Deno.test("Jobs with no queue runs one and refuses the next", async () => {
  const { engine, release } = gated();
  const jobs = new Jobs(engine, { maxConcurrency: 1, maxQueue: 0 });
  const job = jobs.submit(request);
  assert.throws(() => jobs.submit(request), BusyError);
  release();
  await job.result;
});

Deno.test("Jobs cancels a waiting job at once, without the engine", async () => {
  const { engine, release } = gated();
  const jobs = new Jobs(engine, { maxConcurrency: 1, maxQueue: 5 });
  const running = jobs.submit(request);
  const waiting = jobs.submit({ ...request, prompt: "never seen" });
  assert.equal(jobs.cancel(waiting.id), "cancelled");
  await assert.rejects(waiting.result, CancelledError);
  release();
  await running.result;
  assert.ok(!engine.requests.some(({ prompt }) => prompt === "never seen"));
});

Deno.test("Jobs cancels a running job at its next step and frees its place", async () => {
  const engine = new FakeEngine({ stepMs: 2 });
  const outcomes: JobOutcome[] = [];
  const jobs = new Jobs(
    engine,
    { maxConcurrency: 1, maxQueue: 5 },
    ({ outcome }) => outcomes.push(outcome),
  );
  const job = jobs.submit({ ...request, numInferenceSteps: 10_000 });
  await until(() => engine.steps >= 3, "the job runs");
  assert.equal(jobs.cancel(job.id), "cancelled");
  const steps = engine.steps;
  await assert.rejects(job.result, CancelledError);
  assert.ok(engine.steps <= steps + 1);
  assert.equal(engine.status().memory.requests, 0);
  assert.equal(jobs.cancel(job.id), "finished");
  assert.equal(jobs.cancel("nobody"), "unknown");
  await jobs.submit(request).result;
  assert.deepEqual(outcomes, ["cancelled", "completed"]);
});

Deno.test("Jobs never answers a cancelled job with an image, however late the cancel", async () => {
  // The engine resolves in the same turn in which the cancel comes.
  for (let delay = 0; delay < 12; delay++) {
    const engine = new FakeEngine();
    const jobs = new Jobs(engine, { maxConcurrency: 1, maxQueue: 1 });
    const job = jobs.submit({ ...request, numInferenceSteps: 2 });
    const settled = job.result.then(() => "completed", () => "rejected");
    for (let turn = 0; turn < delay; turn++) await new Promise((done) => setTimeout(done, 0));
    const answer = jobs.cancel(job.id);
    const expected = answer === "cancelled" ? "rejected" : "completed";
    assert.equal(await settled, expected, `after ${delay} turns: ${answer}`);
  }
});

Deno.test("Jobs ends a job whose client went away, also before it started", async () => {
  const { engine, release } = gated();
  const jobs = new Jobs(engine, { maxConcurrency: 1, maxQueue: 5 });
  const [first, second] = [new AbortController(), new AbortController()];
  const running = jobs.submit(request, { signal: first.signal });
  const waiting = jobs.submit(request, { signal: second.signal });
  const late = jobs.submit(request, { signal: AbortSignal.abort() });
  await assert.rejects(late.result, CancelledError);
  second.abort();
  await assert.rejects(waiting.result, CancelledError);
  first.abort();
  release();
  await assert.rejects(running.result, CancelledError);
  assert.deepEqual(jobs.counts(), { total: 3, active: 0, waiting: 0 });
});

Deno.test("Jobs keeps a client's own name for a job, and refuses it twice", async () => {
  const { engine, release } = gated();
  const jobs = new Jobs(engine, { maxConcurrency: 1, maxQueue: 5 });
  const controller = new AbortController();
  const job = jobs.submit(request, { id: "my-own-job", signal: controller.signal });
  assert.equal(job.id, "my-own-job");
  assert.throws(() => jobs.submit(request, { id: "my-own-job" }), InvalidRequestError);
  release();
  await job.result;
  const again = jobs.submit(request, { id: "my-own-job" });
  // The first request's connection closes now; that is not the second's affair.
  controller.abort();
  await again.result;
});

Deno.test("Jobs hands on the engine's error, also one that is thrown before any promise", async () => {
  const engine = new FakeEngine({ failures: { boom: () => new RangeError("a bug") } });
  const jobs = new Jobs(engine, { maxConcurrency: 1, maxQueue: 5 });
  await assert.rejects(jobs.submit({ ...request, prompt: "boom" }).result, /a bug/);
  engine.run = () => {
    throw new TypeError("at once");
  };
  await assert.rejects(jobs.submit(request).result, /at once/);
  assert.equal(jobs.counts().active, 0);
});

Deno.test("Jobs adds the wait for a place to the timings", async () => {
  const engine = new FakeEngine({ stepMs: 10 });
  const jobs = new Jobs(engine, { maxConcurrency: 1, maxQueue: 5 });
  const first = jobs.submit({ ...request, numInferenceSteps: 3 });
  const second = await jobs.submit({ ...request, numInferenceSteps: 1 }).result;
  const { timings } = await first.result;
  assert.ok(second.timings.queued >= timings.denoise * 0.9);
  assert.ok(second.timings.total >= second.timings.queued + second.timings.denoise);
});

Deno.test("Jobs.drain() lets jobs finish, refuses new ones, then cancels what is left", async () => {
  const engine = new FakeEngine({ stepMs: 2 });
  const jobs = new Jobs(engine, { maxConcurrency: 2, maxQueue: 5 });
  const short = jobs.submit({ ...request, numInferenceSteps: 3 });
  const long = jobs.submit({ ...request, numInferenceSteps: 100_000 });
  const waiting = jobs.submit({ ...request, numInferenceSteps: 100_000 });
  const drained = jobs.drain(0.1);
  assert.equal(jobs.draining, true);
  assert.throws(() => jobs.submit(request), UnavailableError);
  await short.result;
  await assert.rejects(long.result, UnavailableError);
  await assert.rejects(waiting.result, UnavailableError);
  await drained;
  assert.equal(jobs.counts().active + jobs.counts().waiting, 0);
});

Deno.test("Jobs.drain() of an idle server takes no time", async () => {
  const jobs = new Jobs(new FakeEngine(), { maxConcurrency: 1, maxQueue: 1 });
  const started = performance.now();
  await jobs.drain(60);
  assert.ok(performance.now() - started < 1000);
});
