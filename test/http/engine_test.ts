import assert from "node:assert/strict";
import { SupervisedEngine } from "../../src/http/engine.ts";
import { UnavailableError } from "../../src/http/errors.ts";
import type { LogEntry } from "../../src/http/log.ts";
import { DeviceLostError } from "../../src/gpu/errors.ts";
import { WorkerDiedError } from "../../src/engine/errors.ts";
import { connectEngine } from "../../src/engine/worker/client.ts";
import { FakeEngine } from "./fake_engine.ts";
import { until } from "./fixture.ts";

const request = { prompt: "a", seed: 1 };

Deno.test("SupervisedEngine reopens a lost engine: what ran fails, what comes after works", async () => {
  const engines: FakeEngine[] = [];
  const logs: LogEntry[] = [];
  const engine = await SupervisedEngine.open(() => {
    engines.push(new FakeEngine({ stepMs: 1 }));
    return Promise.resolve(engines.at(-1)!);
  }, { reopenDelays: [0.02], log: (entry) => logs.push(entry) });
  const running = engine.generate({ ...request, numInferenceSteps: 10_000 });
  await until(() => engines[0]!.steps > 2, "it runs");
  const rejected = assert.rejects(running, DeviceLostError);
  engines[0]!.lose();
  await rejected;
  assert.deepEqual(engine.health(), { ready: false, state: "reopening" });
  await assert.rejects(engine.generate(request), UnavailableError);
  const { memory, model } = engine.status();
  assert.equal(memory.weights, 0);
  assert.equal(model.name, "fake-sd3");
  await until(() => engine.health().ready, "it is open again");
  assert.equal((await engine.generate(request)).images.length, 1);
  assert.equal(engines.length, 2);
  assert.deepEqual(logs.map(({ event }) => event), ["engine_lost", "engine_reopened"]);
  await engine.close();
  assert.equal(await engine.closed, undefined);
});

Deno.test("SupervisedEngine reopens when only the request hears of the lost device", async () => {
  let opened = 0;
  const engine = await SupervisedEngine.open(() => {
    opened++;
    const failures = { lost: () => new DeviceLostError("the engine itself says nothing") };
    return Promise.resolve(new FakeEngine({ failures }));
  }, { reopenDelays: [0] });
  await assert.rejects(engine.generate({ prompt: "lost" }), DeviceLostError);
  await until(() => engine.health().ready, "it is open again");
  assert.equal(opened, 2);
  await engine.close();
});

Deno.test("SupervisedEngine tries again with patience, then gives up and says why", async () => {
  let attempts = 0;
  const first = new FakeEngine();
  const engine = await SupervisedEngine.open(
    () => attempts++ === 0 ? Promise.resolve(first) : Promise.reject(new Error("no adapter")),
    { reopenDelays: [0.001, 0.001, 0.001] },
  );
  first.lose();
  const cause = await engine.closed;
  assert.match(cause!.message, /could not be reopened: no adapter/);
  assert.equal(attempts, 4);
  assert.equal(engine.health().state, "failed");
  await assert.rejects(engine.generate(request), UnavailableError);
});

Deno.test("SupervisedEngine gives up on a device that is lost by every request", async () => {
  const failures = { lost: () => new DeviceLostError("every time") };
  const engine = await SupervisedEngine.open(
    () => Promise.resolve(new FakeEngine({ failures })),
    { reopenDelays: [0, 0] },
  );
  for (let k = 0; k < 3; k++) {
    await assert.rejects(engine.generate({ prompt: "lost" }), DeviceLostError);
    await until(() => engine.health().state !== "reopening", "it is open again, or failed");
  }
  assert.match((await engine.closed)!.message, /every time/);
});

Deno.test("SupervisedEngine.open() rejects when the first opening fails", async () => {
  await assert.rejects(
    SupervisedEngine.open(() => Promise.reject(new TypeError("no model here"))),
    TypeError,
  );
});

Deno.test("SupervisedEngine.close() while it reopens leaves no engine open", async () => {
  const gate = Promise.withResolvers<void>();
  const engines: FakeEngine[] = [];
  let asked = 0;
  const engine = await SupervisedEngine.open(async () => {
    if (asked++ > 0) await gate.promise;
    engines.push(new FakeEngine());
    return engines.at(-1)!;
  }, { reopenDelays: [0] });
  engines[0]!.lose();
  await until(() => asked === 2, "it is being opened again");
  assert.equal(engine.health().state, "reopening");
  await engine.close();
  gate.resolve();
  await until(() => engines.length === 2, "the second is opened");
  assert.equal(await engines[1]!.closed, undefined);
  assert.equal(engine.health().state, "closed");
});

Deno.test("SupervisedEngine survives the death of a real worker", async () => {
  const url = new URL("./fake_engine_worker.ts", import.meta.url);
  const engine = await SupervisedEngine.open(
    () => connectEngine(new Worker(url, { type: "module" }), {}),
    { reopenDelays: [0.01] },
  );
  await assert.rejects(engine.generate({ prompt: "break the worker" }), WorkerDiedError);
  await until(() => engine.health().ready, "a new worker is there");
  assert.equal((await engine.generate(request)).images.length, 1);
  await assert.rejects(engine.generate({ prompt: "lose the device" }), DeviceLostError);
  await until(() => engine.health().ready, "another one is there");
  assert.equal((await engine.generate(request)).images.length, 1);
  await engine.close();
});
