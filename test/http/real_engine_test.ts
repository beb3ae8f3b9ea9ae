/** The whole server over the real engine and the small trained model, on whatever adapter is here. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { prepareAdapter } from "../../adapter.ts";
import { parseConfig, type ServerConfig } from "../../src/http/config.ts";
import { startEngine } from "../../src/http/engine.ts";
import { type RunningServer, startServer } from "../../src/http/main.ts";
import { decodePng } from "../../src/image/png.ts";
import { allEvents } from "./fixture.ts";

const modelFolder = fileURLToPath(new URL("../../fixtures/sd35-tiny", import.meta.url));

interface Answer {
  readonly response: string[];
  readonly job: string;
}

async function withServer(
  test: (server: RunningServer, config: ServerConfig) => Promise<void>,
  changes: Partial<ServerConfig> = {},
): Promise<void> {
  const { vectorBits } = prepareAdapter();
  const folder = await Deno.makeTempDir({ prefix: "real_engine_test_" });
  const config: ServerConfig = {
    ...parseConfig(["--port", "0", "--host", "127.0.0.1"], () => undefined),
    model: modelFolder,
    imageDir: folder,
    drainSeconds: 0,
    tune: false,
    ...changes,
  };
  const start = (config: ServerConfig, log: Parameters<typeof startEngine>[1]) =>
    startEngine(config, log, vectorBits);
  const server = await startServer(config, start, () => {});
  try {
    await test(server, config);
  } finally {
    server.stop("the test is over");
    assert.equal(await server.finished, 0);
    await Deno.remove(folder, { recursive: true });
  }
}

function post({ url }: RunningServer, body: object): Promise<Response> {
  return fetch(`${url}/api/diffusers/inference`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}

async function imageOf(server: RunningServer, body: object): Promise<Uint8Array> {
  const response = await post(server, body);
  const answer = await response.json() as Answer;
  assert.equal(response.status, 200, JSON.stringify(answer));
  return await (await fetch(answer.response[0]!)).bytes();
}

// deno-lint-ignore no-explicit-any -- fields of it are read one by one
async function status({ url }: RunningServer): Promise<any> {
  return await (await fetch(`${url}/api/status`)).json();
}

Deno.test("20 requests at once give the files of the same requests one after another, and the status answers within 250 ms", async () => {
  await withServer(async (server) => {
    const bodies = Array.from({ length: 20 }, (_, k) => ({
      prompt: ["a red circle", "a blue square", "a green triangle on black"][k % 3],
      negative_prompt: k % 5 === 0 ? "blurry" : undefined,
      seed: 1000 + k,
      num_inference_steps: 1 + k % 4,
      width: [32, 48, 64][k % 3],
      height: [32, 64][k % 2],
      guidance_scale: k % 4 === 0 ? 1 : 4.5,
    }));
    const times: number[] = [];
    let finished = false;
    const asking = (async () => {
      while (!finished) {
        const started = performance.now();
        await status(server);
        times.push(performance.now() - started);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    })();
    const together = await Promise.all(bodies.map((body) => imageOf(server, body)));
    finished = true;
    await asking;
    times.sort((a, b) => a - b);
    const p99 = times[Math.floor(times.length * 0.99)]!;
    assert.ok(times.length >= 20, "the load lasted long enough to measure");
    assert.ok(p99 < 250, `99 of 100 answers came within ${p99} ms`);
    for (const [k, body] of bodies.entries()) {
      const alone = await imageOf(server, body);
      assert.deepEqual(alone, together[k], JSON.stringify(body));
      assert.equal(decodePng(alone).width, body.width);
    }
  });
});

Deno.test("--weights reaches the engine, and the status says so", async () => {
  const body = { prompt: "a red circle", height: 32, width: 32, seed: 1, num_inference_steps: 2 };
  const images: string[] = [];
  const weights: number[] = [];
  for (const type of ["auto", "q4_0"] as const) {
    await withServer(async (server) => {
      images.push((await imageOf(server, body)).toBase64());
      const { weight_type, memory } = await status(server);
      assert.equal(weight_type, type);
      weights.push(memory.weights);
    }, { weights: type });
  }
  assert.notEqual(images[0], images[1]);
  assert.ok(weights[1]! < weights[0]! / 2, `${weights}`);
});

Deno.test("--kernels reaches the engine, and the status says so", async () => {
  for (const kernels of ["gpu", "software"] as const) {
    await withServer(async (server) => {
      assert.equal((await status(server)).kernels, kernels);
    }, { kernels });
  }
});

Deno.test("a stream of the real engine has every step, previews and an image; a cancel frees its memory", async () => {
  await withServer(async (server) => {
    const body = { prompt: "a red circle", height: 32, width: 32, seed: 1, stream: true };
    const response = await post(server, { ...body, num_inference_steps: 4, preview_every: 2 });
    const events = await allEvents(response);
    const steps = events.filter(({ event }) => event === "progress").map(({ data }) => data.step);
    assert.deepEqual(steps, [1, 2, 3, 4]);
    const preview = events.find(({ data }) => data.preview !== undefined)!.data.preview as string;
    decodePng(Uint8Array.fromBase64(preview.split(",")[1]!));
    assert.equal(events.at(-1)!.event, "completed");

    const before = await status(server);
    const job = "job-to-be-cancelled";
    const long = await post(server, { ...body, num_inference_steps: 150, job });
    const seen: string[] = [];
    const reading = allEvents(long).then((events) => seen.push(...events.map((e) => e.event)));
    while ((await status(server)).requests.active === 0);
    const deleted = await fetch(`${server.url}/api/jobs/${job}`, { method: "DELETE" });
    assert.equal(deleted.status, 200);
    await deleted.body?.cancel();
    await reading;
    assert.equal(seen.at(-1), "error");
    assert.ok(seen.length < 150);
    const after = await status(server);
    assert.deepEqual(after.requests, { total: 2, active: 0, waiting: 0 });
    assert.equal(after.memory.requests, before.memory.requests);
    assert.equal(after.memory.weights, before.memory.weights);
  });
});

Deno.test("200 requests, also cancelled and failing ones, leave GPU memory and the process flat", async () => {
  await withServer(async (server) => {
    const body = { prompt: "a", num_inference_steps: 2, height: 32, width: 32, guidance_scale: 1 };
    const run = async (k: number) => {
      if (k % 10 === 3) {
        // Refused by the model, not by the schema: schedules fall.
        const response = await post(server, { ...body, sigmas: [0.2, 0.9] });
        assert.equal(response.status, 422);
        await response.body?.cancel();
      } else if (k % 10 === 7) {
        const job = `cancelled-${k}`;
        const pending = post(server, { ...body, num_inference_steps: 150, job });
        while ((await status(server)).requests.active === 0);
        await (await fetch(`${server.url}/api/jobs/${job}`, { method: "DELETE" })).body?.cancel();
        assert.equal((await pending).status, 499);
        await (await pending).body?.cancel();
      } else {
        const response = await post(server, { ...body, seed: k });
        assert.equal(response.status, 200);
        await response.body?.cancel();
      }
    };
    // What is allocated once (pipelines, arena, the heap's own size) is there after the first half.
    for (let k = 0; k < 100; k++) await run(k);
    const half = (await status(server)).memory;
    const halfRss = Deno.memoryUsage().rss;
    for (let k = 100; k < 200; k++) await run(k);
    const end = (await status(server)).memory;
    const grown = (Deno.memoryUsage().rss - halfRss) / 2 ** 20;
    assert.deepEqual(end, half);
    assert.equal(end.requests, 0);
    assert.ok(grown < 48, `the process grew by ${grown.toFixed(1)} MiB in 100 requests`);
  });
});

Deno.test("a server that tunes says what it chose, makes the same image, and starts again with what it knows", async () => {
  const folder = await Deno.makeTempDir({ prefix: "real_engine_test_" });
  const tuning = { tune: true, tuningFile: `${folder}/kept/tuning.json` };
  const body = { prompt: "a red circle", seed: 5, num_inference_steps: 1, height: 32, width: 32 };
  // deno-lint-ignore no-explicit-any -- fields of it are read one by one
  let before: any;
  let image: Uint8Array | undefined;
  const known = (status: typeof before) =>
    // deno-lint-ignore no-explicit-any -- as above
    status.tuning.kernels.filter(({ source }: any) => source !== "default");
  try {
    await withServer(async (server) => {
      image = await imageOf(server, body);
      before = await status(server);
      assert.ok(known(before).length > 0 && before.tuning.seconds > 0);
      assert.equal(before.tuning.problem, undefined);
      assert.equal(before.tuning.batches[0].tokens, 64);
      const { adapters } = JSON.parse(await Deno.readTextFile(tuning.tuningFile));
      assert.equal(Object.keys(adapters).length, 1);
    }, tuning);
    await withServer(async (server) => {
      assert.deepEqual(await imageOf(server, body), image);
      const after = await status(server);
      const sources = new Map<string, string>(
        // deno-lint-ignore no-explicit-any -- as above
        after.tuning.kernels.map(({ shape, source }: any) => [shape, source]),
      );
      for (const { shape } of known(before)) {
        assert.ok(["cached", undefined].includes(sources.get(shape)), shape);
      }
      assert.ok([...sources.values()].includes("cached"));
    }, tuning);
    await withServer(async (server) => {
      assert.equal("tuning" in await status(server), false);
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
