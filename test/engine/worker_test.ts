import assert from "node:assert/strict";
import { DeviceLostError } from "../../src/gpu/errors.ts";
import { InvalidRequestError } from "../../src/requests/errors.ts";
import type { Engine, ProgressEvent } from "../../src/engine/types.ts";
import { connectEngine } from "../../src/engine/worker/client.ts";
import { serveEngine } from "../../src/engine/worker/host.ts";
import { FakeEngine, type FakeEngineOptions } from "../http/fake_engine.ts";
import { until } from "../http/fixture.ts";
import { WorkerDiedError } from "../../src/engine/errors.ts";

/** Client and host with a real structured clone between them, in one thread. */
async function withEngine(
  options: FakeEngineOptions,
  test: (client: Engine, host: FakeEngine) => Promise<void>,
): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  const host = new FakeEngine(options);
  serveEngine(port1, () => Promise.resolve(host));
  port1.start();
  port2.start();
  try {
    const client = await connectEngine(port2, {});
    await test(client, host);
    await client.close();
  } finally {
    port1.close();
    port2.close();
  }
}

const request = { prompt: "a", seed: 3, numInferenceSteps: 4 };

Deno.test("connectEngine() gives the images, progress and previews of the engine itself", async () => {
  const expected = await new FakeEngine().generate(request);
  await withEngine({}, async (client) => {
    assert.equal(client.status().model.name, "fake-sd3");
    const events: ProgressEvent[] = [];
    const onProgress = (event: ProgressEvent) => void events.push(event);
    const result = await client.generate(request, { onProgress, previewEvery: 2 });
    assert.deepEqual(result.images, expected.images);
    assert.deepEqual(result.parameters, expected.parameters);
    assert.deepEqual(
      events.map((event) => event.type === "progress" && [event.step, event.previews?.length]),
      [false, [1, undefined], [2, 1], [3, undefined], [4, 1]],
    );
    assert.deepEqual(client.status().requests, { total: 1, active: 0, waiting: 0 });
  });
});

Deno.test("connectEngine() serves many requests at once and rejects each with its own error", async () => {
  const failures = { bad: () => new InvalidRequestError("seed", "seed: a test says so") };
  await withEngine({ failures }, async (client, host) => {
    const settled = await Promise.allSettled(
      Array.from(
        { length: 12 },
        (_, k) => client.generate({ ...request, prompt: k % 3 === 1 ? "bad" : "good", seed: k }),
      ),
    );
    assert.ok(host.mostActive >= 12);
    for (const [k, outcome] of settled.entries()) {
      if (k % 3 === 1) {
        assert.ok(outcome.status === "rejected");
        assert.ok(outcome.reason instanceof InvalidRequestError);
        assert.equal(outcome.reason.param, "seed");
      } else {
        assert.ok(outcome.status === "fulfilled");
        assert.equal(outcome.value.images[0]!.seed, k);
      }
    }
  });
});

Deno.test("an abort reaches the worker, and the promise rejects with the signal's own reason", async () => {
  await withEngine({ stepMs: 2 }, async (client, host) => {
    const controller = new AbortController();
    const pending = client.generate({ ...request, numInferenceSteps: 10_000 }, {
      signal: controller.signal,
    });
    await until(() => host.steps > 2, "it runs");
    assert.equal(client.status().requests.active, 1);
    const reason = new Error("a reason that is never cloned");
    controller.abort(reason);
    await assert.rejects(pending, (error) => error === reason);
    assert.equal(host.status().requests.active, 0);
    assert.equal(client.status().requests.active, 0);
    await assert.rejects(
      client.generate(request, { signal: AbortSignal.abort(reason) }),
      (error) => error === reason,
    );
  });
});

Deno.test("a listener that throws ends its own request, on both sides", async () => {
  await withEngine({ stepMs: 2 }, async (client, host) => {
    const broken = new Error("listener failed");
    const onProgress = ({ type }: ProgressEvent) => {
      if (type === "progress") throw broken;
    };
    const long = { ...request, numInferenceSteps: 10_000 };
    const other = client.generate(request);
    await assert.rejects(client.generate(long, { onProgress }), (error) => error === broken);
    await other;
    await until(() => host.status().requests.active === 0, "the request is over in the worker");
  });
});

Deno.test("a lost device fails what runs and what comes, and settles closed with the cause", async () => {
  await withEngine({ stepMs: 2 }, async (client, host) => {
    const pending = client.generate({ ...request, numInferenceSteps: 10_000 });
    await until(() => host.steps > 2, "it runs");
    const rejected = assert.rejects(pending, DeviceLostError);
    host.lose();
    await rejected;
    const cause = await client.closed;
    assert.ok(cause instanceof DeviceLostError);
    await assert.rejects(client.generate(request), DeviceLostError);
  });
});

Deno.test("close() ends requests and settles closed with undefined", async () => {
  await withEngine({ stepMs: 2 }, async (client, host) => {
    const pending = client.generate({ ...request, numInferenceSteps: 10_000 });
    await until(() => host.steps > 2, "it runs");
    const rejected = assert.rejects(pending);
    await client.close();
    await rejected;
    assert.equal(await client.closed, undefined);
    await assert.rejects(client.generate(request), WorkerDiedError);
  });
});

Deno.test("connectEngine() rejects with what the opener threw", async () => {
  const { port1, port2 } = new MessageChannel();
  let given: unknown;
  serveEngine(port1, (options) => {
    given = options;
    return Promise.reject(new RangeError("The model is unusable"));
  });
  port1.start();
  port2.start();
  await assert.rejects(connectEngine(port2, { model: "x" }), (error: Error) => {
    assert.ok(error instanceof RangeError);
    return error.message === "The model is unusable";
  });
  assert.deepEqual(given, { model: "x" });
  port1.close();
  port2.close();
});

function startWorker(): Worker {
  return new Worker(new URL("../http/fake_engine_worker.ts", import.meta.url), { type: "module" });
}

Deno.test("an engine in a real worker answers, and close() ends the worker", async () => {
  const client = await connectEngine(startWorker(), { stepMs: 1 });
  const expected = await new FakeEngine().generate(request);
  const { images } = await client.generate(request);
  assert.deepEqual(images, expected.images);
  await client.close();
});

Deno.test("a worker that breaks rejects its requests with WorkerDiedError", async () => {
  const client = await connectEngine(startWorker(), { stepMs: 1 });
  const long = client.generate({ ...request, numInferenceSteps: 100_000 });
  const broken = client.generate({ ...request, prompt: "break the worker" });
  await Promise.all([
    assert.rejects(long, WorkerDiedError),
    assert.rejects(broken, WorkerDiedError),
  ]);
  const cause = await client.closed;
  assert.ok(cause instanceof WorkerDiedError);
  assert.match(cause.message, /a test broke the worker/);
});
