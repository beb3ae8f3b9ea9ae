import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { parseConfig, type ServerConfig } from "../../src/http/config.ts";
import { SupervisedEngine } from "../../src/http/engine.ts";
import type { LogEntry } from "../../src/http/log.ts";
import { type RunningServer, startServer } from "../../src/http/main.ts";
import { decodePng } from "../../src/image/png.ts";
import { connectEngine } from "../../src/engine/worker/client.ts";
import { FakeEngine, type FakeEngineOptions } from "./fake_engine.ts";
import { allEvents, readEvents, until } from "./fixture.ts";

const inferencePath = "/api/diffusers/inference";

interface ServerFixture {
  readonly server: RunningServer;
  readonly url: string;
  readonly engine: FakeEngine;
  readonly logs: LogEntry[];
  readonly folder: string;
  post(body: unknown, init?: RequestInit): Promise<Response>;
}

function configFor(folder: string, changes: Partial<ServerConfig> = {}): ServerConfig {
  return {
    ...parseConfig(["--port", "0", "--host", "127.0.0.1"], () => undefined),
    imageDir: `${folder}/images`,
    webDir: `${folder}/web`,
    drainSeconds: 5,
    ...changes,
  };
}

/** A server on a free port, with its own thread of events but for the engine, which is a fake. */
async function withServer(
  options: { config?: Partial<ServerConfig>; engine?: FakeEngineOptions },
  test: (fixture: ServerFixture) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "server_test_" });
  const logs: LogEntry[] = [];
  const engine = new FakeEngine(options.engine);
  const server = await startServer(
    configFor(folder, options.config),
    (_config, log) =>
      SupervisedEngine.open(
        // Once lost, it stays lost: this test's server has one GPU.
        () => engine.isOver ? Promise.reject(new Error("no GPU")) : Promise.resolve(engine),
        { log, reopenDelays: [0.01] },
      ),
    (entry) => logs.push(entry),
  );
  try {
    await test({
      server,
      url: server.url,
      engine,
      logs,
      folder,
      post: (body, init = {}) =>
        fetch(server.url + inferencePath, {
          ...init,
          method: "POST",
          headers: { "Content-Type": "application/json", ...init.headers as object },
          body: JSON.stringify(body),
        }),
    });
  } finally {
    server.stop("the test is over");
    await server.finished;
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("startServer() serves the Python example's client: its body, its URLs, its image", async () => {
  await withServer({}, async ({ post, url }) => {
    const response = await post({
      prompt: "The T-800 Terminator Robot Returning From The Future, Anime Style",
      num_inference_steps: 30,
      num_images_per_prompt: 1,
    });
    const body = await response.json();
    assert.equal(body.response.length, 1);
    assert.ok(body.response[0].startsWith(`${url}/images/`));
    const image = await fetch(body.response[0]);
    assert.equal(decodePng(await image.bytes()).width, 32);
  });
});

Deno.test("a client that closes its connection stops its plain request", async () => {
  await withServer({ engine: { stepMs: 2 } }, async ({ post, engine, url }) => {
    const controller = new AbortController();
    const pending = post({ prompt: "a", num_inference_steps: 150 }, { signal: controller.signal });
    await until(() => engine.steps > 2, "it runs");
    controller.abort();
    await assert.rejects(pending);
    await until(() => engine.status().requests.active === 0, "the engine stopped");
    assert.ok(engine.steps < 150);
    const { requests, memory } = await (await fetch(`${url}/api/status`)).json();
    assert.deepEqual(requests, { total: 1, active: 0, waiting: 0 });
    assert.equal(memory.requests, 0);
  });
});

Deno.test("a client that closes its connection stops its stream", async () => {
  await withServer({ engine: { stepMs: 2 } }, async ({ post, engine }) => {
    const controller = new AbortController();
    const body = { prompt: "a", num_inference_steps: 150, stream: true };
    const response = await post(body, { signal: controller.signal });
    const events = readEvents(response);
    for (let k = 0; k < 4; k++) await events.next();
    controller.abort();
    await assert.rejects(async () => {
      while (!(await events.next()).done);
    });
    await until(() => engine.status().requests.active === 0, "the engine stopped");
    assert.ok(engine.steps < 150);
  });
});

Deno.test("stop() lets running requests finish, refuses new ones, and ends with 0", async () => {
  await withServer({ engine: { stepMs: 5 } }, async ({ server, post, url, engine, folder }) => {
    const plain = post({ prompt: "plain", num_inference_steps: 40 });
    const streamed = await post({ prompt: "streamed", num_inference_steps: 40, stream: true });
    await until(() => engine.requests.length === 2, "both run");
    server.stop("a test");
    const refused = await post({ prompt: "late" });
    assert.equal(refused.status, 503);
    assert.match((await refused.json()).error.message, /shutting down/);
    assert.equal((await fetch(`${url}/readyz`)).status, 503);
    assert.equal((await fetch(`${url}/healthz`)).status, 200);
    assert.equal((await plain).status, 200);
    await (await plain).text();
    assert.equal((await allEvents(streamed)).at(-1)!.event, "completed");
    assert.equal(await server.finished, 0);
    await assert.rejects(fetch(url), "nobody listens any more");
    const files = [...Deno.readDirSync(`${folder}/images`)].map(({ name }) => name);
    assert.equal(files.length, 2);
    assert.ok(files.every((name) => name.startsWith("img")), "no temporary file remains");
  });
});

Deno.test("stop() cancels what does not finish in time, and still ends with 0", async () => {
  const options = { config: { drainSeconds: 0.1 }, engine: { stepMs: 20 } };
  await withServer(options, async ({ server, post, engine }) => {
    const plain = post({ prompt: "a", num_inference_steps: 150 });
    const streamed = await post({ prompt: "b", num_inference_steps: 150, stream: true });
    await until(() => engine.steps > 1, "they run");
    server.stop("a test");
    const response = await plain;
    assert.equal(response.status, 503);
    await response.text();
    const last = (await allEvents(streamed)).at(-1)!;
    assert.equal(last.event, "error");
    assert.equal(last.data.status, 503);
    assert.equal(await server.finished, 0);
  });
});

Deno.test("stop() a second time no longer waits", async () => {
  const options = { config: { drainSeconds: 3600 }, engine: { stepMs: 5 } };
  await withServer(options, async ({ server, post, engine }) => {
    const pending = post({ prompt: "a", num_inference_steps: 150 });
    await until(() => engine.steps > 1, "it runs");
    server.stop("first");
    server.stop("second");
    assert.equal((await pending).status, 503);
    await (await pending).text();
    assert.equal(await server.finished, 0);
  });
});

Deno.test("a GPU that is lost for good fails requests with 503 and ends the server with 1", async () => {
  await withServer({ engine: { stepMs: 2 } }, async ({ server, post, engine, logs }) => {
    const pending = post({ prompt: "a", num_inference_steps: 150 });
    await until(() => engine.steps > 1, "it runs");
    engine.lose();
    const response = await pending;
    assert.equal(response.status, 503);
    assert.equal((await response.json()).error.type, "device_lost_error");
    assert.equal(await server.finished, 1);
    const said = logs.find(({ event }) => event === "engine_failed");
    assert.match(String(said!.error), /could not be reopened: no GPU/);
  });
});

Deno.test("startServer() answers 503 while the model is being loaded", async () => {
  const folder = await Deno.makeTempDir({ prefix: "server_test_" });
  const gate = Promise.withResolvers<void>();
  const logs: LogEntry[] = [];
  const starting = startServer(configFor(folder), async () => {
    await gate.promise;
    return await SupervisedEngine.open(() => Promise.resolve(new FakeEngine()));
  }, (entry) => logs.push(entry));
  await until(() => logs.some(({ event }) => event === "listening"), "it listens");
  const url = String(logs.find(({ event }) => event === "listening")!.url);
  assert.equal((await fetch(`${url}/healthz`)).status, 200);
  assert.deepEqual(await (await fetch(`${url}/readyz`)).json(), { status: "loading" });
  const early = await fetch(`${url}/api/status`);
  assert.equal(early.status, 503);
  assert.ok(early.headers.get("Retry-After"));
  assert.match((await early.json()).error.message, /being loaded/);
  gate.resolve();
  const server = await starting;
  assert.equal((await fetch(`${url}/readyz`)).status, 200);
  server.stop("the test is over");
  assert.equal(await server.finished, 0);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("startServer() stops with a clear message at a taken port, folder or model", async () => {
  await withServer({}, async ({ url, folder }) => {
    const port = Number(new URL(url).port);
    const never = () => Promise.reject(new Error("The model is broken: layer 3 is missing"));
    const refuse = async (changes: Partial<ServerConfig>, message: RegExp) => {
      const config = configFor(folder, changes);
      await assert.rejects(startServer(config, never, () => {}), { message });
    };
    await refuse({ port }, new RegExp(`port ${port} on 127\\.0\\.0\\.1 is taken.*--port`));
    await Deno.writeTextFile(`${folder}/file`, "");
    await refuse({ imageDir: `${folder}/file` }, /--image-dir: cannot use/);
    await refuse({ model: `${folder}/nowhere` }, /--model: There is nothing at .*nowhere/);
    await refuse({ model: `${folder}/file` }, /--model: .*file is an empty file/);
    await refuse({}, /layer 3 is missing/);
  });
});

Deno.test("GET /api/status answers within 250 ms while the engine's worker is blocked", async () => {
  const folder = await Deno.makeTempDir({ prefix: "server_test_" });
  const worker = new URL("./fake_engine_worker.ts", import.meta.url);
  const server = await startServer(
    configFor(folder),
    () => SupervisedEngine.open(() => connectEngine(new Worker(worker, { type: "module" }), {})),
    () => {},
  );
  const body = JSON.stringify({ prompt: "block the worker" });
  const headers = { "Content-Type": "application/json" };
  const blocked = fetch(server.url + inferencePath, { method: "POST", body, headers });
  const times: number[] = [];
  let answered = false;
  blocked.finally(() => answered = true);
  while (!answered) {
    const started = performance.now();
    await (await fetch(`${server.url}/api/status`)).json();
    times.push(performance.now() - started);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await (await blocked).text();
  times.sort((a, b) => a - b);
  assert.ok(times.length > 50, `${times.length} answers while the worker stood still`);
  assert.ok(times[Math.floor(times.length * 0.99)]! < 250, `${times.at(-1)} ms`);
  server.stop("the test is over");
  await server.finished;
  await Deno.remove(folder, { recursive: true });
});

/** The whole program in a process of its own. */
async function withProcess(
  args: string[],
  test: (process: Deno.ChildProcess, url: string, lines: LogEntry[]) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "server_test_" });
  const process = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--no-prompt", fileURLToPath(new URL("./serve_fake.ts", import.meta.url))],
      ...["--port", "0", "--host", "127.0.0.1", "--image-dir", folder, ...args],
    ],
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const lines: LogEntry[] = [];
  const reading = (async () => {
    let rest = "";
    for await (const text of process.stdout.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + text).split("\n");
      rest = parts.pop()!;
      lines.push(...parts.map((line) => JSON.parse(line)));
    }
  })();
  try {
    const deadline = performance.now() + 20_000;
    while (!lines.some(({ event }) => event === "ready")) {
      assert.ok(performance.now() < deadline, "the process did not start");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await test(process, String(lines.find(({ event }) => event === "ready")!.url), lines);
  } finally {
    await process.status;
    await reading;
    await Deno.remove(folder, { recursive: true });
  }
}

function inference(url: string, body: object): Promise<Response> {
  return fetch(url + inferencePath, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test(`${signal} drains the process and ends it with 0`, async () => {
    await withProcess([], async (process, url, lines) => {
      const stream = await inference(url, { prompt: "a", num_inference_steps: 60, stream: true });
      const events = readEvents(stream);
      for (let k = 0; k < 3; k++) await events.next();
      process.kill(signal);
      const rest = await Array.fromAsync(events);
      assert.equal(rest.at(-1)!.event, "completed", "what ran has finished");
      const { code } = await process.status;
      assert.equal(code, 0);
      await until(() => lines.at(-1)?.event === "stopped", "the log says so");
      assert.equal(lines[0]!.event, "start");
      assert.ok(lines.every((line) => !Number.isNaN(Date.parse(String(line.time)))));
    });
  });
}

Deno.test("the process recovers from a lost device and a dead worker", async () => {
  await withProcess([], async (process, url, lines) => {
    for (const prompt of ["lose the device", "break the worker"]) {
      const failed = await inference(url, { prompt });
      assert.equal(failed.status, 503, prompt);
      await failed.text();
      const deadline = performance.now() + 10_000;
      while ((await fetch(`${url}/readyz`).then((r) => (r.body?.cancel(), r.status))) !== 200) {
        assert.ok(performance.now() < deadline, "it did not recover");
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      const works = await inference(url, { prompt: "a" });
      assert.equal(works.status, 200, `after: ${prompt}`);
      await works.text();
    }
    assert.equal(lines.filter(({ event }) => event === "engine_reopened").length, 2);
    process.kill("SIGTERM");
    assert.equal((await process.status).code, 0);
  });
});

Deno.test("tuning results that cannot be used are said once and stop nothing", async () => {
  const problem = "Tuning results are ignored: not JSON";
  const tuning = { seconds: 0, kernels: [], batches: [], problem };
  await withServer({ engine: { tuning }, config: { tuningFile: "kept.json" } }, async (fixture) => {
    const response = await fixture.post({ prompt: "a" });
    assert.equal(response.status, 200);
    await response.body?.cancel();
    const said = fixture.logs.filter(({ event }) => event === "tuning_problem");
    assert.equal(said.length, 1);
    assert.deepEqual([said[0]!.level, said[0]!.file, said[0]!.error], [
      "warn",
      "kept.json",
      problem,
    ]);
  });
});
