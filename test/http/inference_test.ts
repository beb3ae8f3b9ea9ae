import assert from "node:assert/strict";
import { DeviceLostError } from "../../src/gpu/errors.ts";
import { decodePng } from "../../src/image/png.ts";
import { BusyError } from "../../src/requests/errors.ts";
import { allEvents, readEvents, until, withApp } from "./fixture.ts";

const inferencePath = "/api/diffusers/inference";

Deno.test("inference answers the Python example's body with URLs that serve the images", async () => {
  await withApp({}, async ({ post, request, engine }) => {
    const response = await post(inferencePath, {
      prompt: "The T-800 Terminator Robot Returning From The Future, Anime Style",
      negative_prompt: null,
      num_inference_steps: 5,
      num_images_per_prompt: 2,
      model: null,
    }, { headers: { Host: "gpu.example:8500" } });
    assert.equal(response.status, 200);
    const answer = await response.json();
    assert.equal(answer.response.length, 2);
    assert.equal(answer.seeds[1], answer.seeds[0] + 1);
    assert.equal(answer.parameters.num_inference_steps, 5);
    assert.equal(answer.parameters.guidance_scale, 7, "the model's default is reported");
    assert.equal(response.headers.get("X-Job-Id"), answer.job);
    for (const name of ["queued", "encode", "denoise", "decode", "total"]) {
      assert.equal(typeof answer.timings[name], "number", name);
    }
    assert.equal(engine.steps, 5);
    for (const [k, url] of answer.response.entries()) {
      const { origin, pathname } = new URL(url);
      assert.equal(origin, "http://gpu.example:8500");
      const image = await request(pathname);
      assert.equal(image.status, 200);
      assert.equal(image.headers.get("Content-Type"), "image/png");
      const png = decodePng(await image.bytes());
      assert.deepEqual([png.width, png.height], [32, 32]);
      const told = JSON.parse(png.text.parameters!);
      assert.equal(told.seed, answer.seeds[k]);
      assert.equal(told.num_images_per_prompt, 1);
    }
  });
});

Deno.test("inference converts every field to the core's names", async () => {
  await withApp({}, async ({ post, engine }) => {
    const response = await post(inferencePath, {
      prompt: "a",
      prompt_2: "b",
      prompt_3: "c",
      negative_prompt: "d",
      negative_prompt_2: "e",
      negative_prompt_3: "f",
      height: 48,
      width: 64,
      guidance_scale: 4.5,
      num_images_per_prompt: 2,
      max_sequence_length: 77,
      clip_skip: 1,
      seed: 9,
      sigmas: [1, 0.5],
      skip_guidance_layers: [1, 2],
      skip_layer_guidance_scale: 3,
      skip_layer_guidance_stop: 0.5,
      model: "someone/fake-sd3",
    });
    assert.deepEqual(engine.requests[0], {
      prompt: "a",
      prompt2: "b",
      prompt3: "c",
      negativePrompt: "d",
      negativePrompt2: "e",
      negativePrompt3: "f",
      height: 48,
      width: 64,
      numInferenceSteps: 2,
      guidanceScale: 4.5,
      sigmas: [1, 0.5],
      numImagesPerPrompt: 2,
      maxSequenceLength: 77,
      clipSkip: 1,
      seed: 9,
      skipGuidanceLayers: [1, 2],
      skipLayerGuidanceScale: 3,
      skipLayerGuidanceStart: 0.01,
      skipLayerGuidanceStop: 0.5,
    });
    const { parameters } = await response.json();
    assert.equal(parameters.clip_skip, 1);
    assert.deepEqual(parameters.sigmas, [1, 0.5]);
    assert.deepEqual(parameters.skip_guidance_layers, [1, 2]);
    assert.equal(parameters.skip_layer_guidance_start, 0.01);
  });
});

Deno.test("inference: 20 requests at once give the files that they give one after another", async () => {
  await withApp({ engine: { stepMs: 1 } }, async ({ post, request, engine }) => {
    const bodies = Array.from({ length: 20 }, (_, k) => ({
      prompt: `prompt ${k % 7}`,
      seed: 100 + k,
      num_inference_steps: 2 + k % 5,
      width: 16 * (1 + k % 4),
      height: 16 * (1 + k % 3),
      guidance_scale: 1 + k % 2,
    }));
    const generate = async (body: unknown) => {
      const answer = await (await post(inferencePath, body)).json();
      return await (await request(new URL(answer.response[0]).pathname)).bytes();
    };
    const together = await Promise.all(bodies.map(generate));
    assert.ok(engine.mostActive > 5);
    for (const [k, body] of bodies.entries()) assert.deepEqual(await generate(body), together[k]);
  });
});

Deno.test("inference streams queued, progress with previews, and completed", async () => {
  await withApp({}, async ({ post, request }) => {
    const body = { prompt: "a", num_inference_steps: 4, num_images_per_prompt: 2 };
    const response = await post(inferencePath, { ...body, stream: true, preview_every: 2 });
    assert.equal(response.status, 200);
    assert.match(response.headers.get("Content-Type")!, /^text\/event-stream/);
    const events = await allEvents(response);
    assert.deepEqual(
      events.map(({ event }) => event),
      ["queued", "progress", "progress", "progress", "progress", "completed"],
    );
    const job = response.headers.get("X-Job-Id");
    assert.deepEqual(events[0]!.data, { job, position: 0 });
    assert.deepEqual(events.slice(1, 5).map(({ data }) => [data.step, data.steps]), [
      [1, 4],
      [2, 4],
      [3, 4],
      [4, 4],
    ]);
    assert.equal(events[1]!.data.preview, undefined);
    const preview: string = events[2]!.data.preview;
    assert.equal(events[2]!.data.previews.length, 2);
    assert.match(preview, /^data:image\/png;base64,/);
    assert.equal(decodePng(Uint8Array.fromBase64(preview.split(",")[1]!)).width, 4);
    const { data } = events[5]!;
    assert.equal(data.job, job);
    assert.equal(data.response.length, 2);
    assert.equal((await request(new URL(data.response[0]).pathname)).status, 200);
  });
});

Deno.test("inference streams to a client that accepts events, unless it says stream: false", async () => {
  await withApp({}, async ({ post }) => {
    const headers = { Accept: "text/event-stream" };
    const streamed = await post(inferencePath, { prompt: "a" }, { headers });
    assert.equal((await allEvents(streamed)).at(-1)!.event, "completed");
    const plain = await post(inferencePath, { prompt: "a", stream: false }, { headers });
    assert.equal(plain.headers.get("Content-Type"), "application/json");
    await plain.json();
  });
});

Deno.test("inference tells a waiting stream its place", async () => {
  await withApp({ config: { maxConcurrency: 1 } }, async ({ post, engine }) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    engine.gate = promise;
    const first = post(inferencePath, { prompt: "first" });
    await until(() => engine.requests.length === 1, "the first runs");
    const second = await post(inferencePath, { prompt: "second", stream: true });
    const third = await post(inferencePath, { prompt: "third", stream: true });
    resolve();
    const positions = (await allEvents(third)).filter(({ event }) => event === "queued")
      .map(({ data }) => data.position);
    assert.deepEqual(positions, [2, 1, 0]);
    assert.equal((await allEvents(second)).at(-1)!.event, "completed");
    assert.equal((await first).status, 200);
  });
});

Deno.test("DELETE /api/jobs/{id} stops a stream with an error event", async () => {
  await withApp({ engine: { stepMs: 2 } }, async ({ post, request, engine, jobs }) => {
    const body = { prompt: "a", num_inference_steps: 150, stream: true };
    const response = await post(inferencePath, body);
    const job = response.headers.get("X-Job-Id")!;
    const seen: string[] = [];
    for await (const { event, data } of readEvents(response)) {
      seen.push(event);
      if (seen.length === 3) {
        const answer = await request(`/api/jobs/${job}`, { method: "DELETE" });
        assert.equal(answer.status, 200);
        assert.deepEqual(await answer.json(), { job, status: "cancelled" });
      }
      if (event === "error") {
        assert.equal(data.status, 499);
        assert.equal(data.error.type, "cancelled_error");
      }
    }
    assert.equal(seen.at(-1), "error");
    assert.ok(engine.steps < 150);
    assert.equal(jobs.counts().active, 0);
    const again = await request(`/api/jobs/${job}`, { method: "DELETE" });
    assert.equal(again.status, 409);
    await again.body?.cancel();
  });
});

Deno.test("DELETE /api/jobs/{id} stops a plain request under the client's own name with 499", async () => {
  await withApp({ engine: { stepMs: 2 } }, async ({ post, request, engine }) => {
    const body = { prompt: "a", num_inference_steps: 150, job: "client-job-1" };
    const pending = post(inferencePath, body);
    await until(() => engine.steps > 2, "it runs");
    const deleted = await request("/api/jobs/client-job-1", { method: "DELETE" });
    assert.equal(deleted.status, 200);
    await deleted.body?.cancel();
    const response = await pending;
    assert.equal(response.status, 499);
    assert.match((await response.json()).error.message, /client-job-1 was cancelled/);
  });
});

Deno.test("inference takes any model name, as the Python example, and says which model drew", async () => {
  await withApp({}, async ({ post }) => {
    const response = await post(inferencePath, { prompt: "a", model: "stabilityai/another" });
    assert.equal(response.status, 200);
    assert.equal((await response.json()).model, "fake-sd3");
  });
});

Deno.test("DELETE /api/jobs/{id} of an unknown job is 404", async () => {
  await withApp({}, async ({ request }) => {
    const response = await request("/api/jobs/nobody", { method: "DELETE" });
    assert.equal(response.status, 404);
    assert.equal((await response.json()).error.param, "id");
  });
});

Deno.test("inference stops when the reader of its stream goes away", async () => {
  await withApp({ engine: { stepMs: 2 } }, async ({ post, engine, jobs }) => {
    const response = await post(inferencePath, {
      prompt: "a",
      num_inference_steps: 150,
      stream: true,
    });
    const reader = response.body!.getReader();
    await reader.read();
    await reader.cancel();
    await until(() => jobs.counts().active === 0, "the job ended");
    assert.ok(engine.steps < 150);
    assert.equal(engine.status().memory.requests, 0);
  });
});

Deno.test("inference refuses with 429 and Retry-After when the queue is full", async () => {
  const config = { maxConcurrency: 1, maxQueue: 1 };
  await withApp({ config }, async ({ post, engine, request }) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    engine.gate = promise;
    const admitted = [post(inferencePath, { prompt: "a" }), post(inferencePath, { prompt: "b" })];
    await until(() => engine.requests.length === 1, "one runs");
    for (const stream of [false, true]) {
      const refused = await post(inferencePath, { prompt: "c", stream });
      assert.equal(refused.status, 429, "also before a stream begins");
      assert.match(refused.headers.get("Retry-After")!, /^[1-9]\d*$/);
      assert.equal((await refused.json()).error.type, "busy_error");
    }
    resolve();
    for (const response of await Promise.all(admitted)) assert.equal(response.status, 200);
    const metrics = await (await request("/metrics")).text();
    assert.match(metrics, /sd_requests_refused_total\{status="429"\} 2/);
  });
});

Deno.test("inference answers each failure of the engine with its status", async () => {
  const failures = {
    lost: () => new DeviceLostError("secret driver text"),
    busy: () => new BusyError("The memory budget is full", 7),
    bug: () => new TypeError("secret of the implementation"),
  };
  await withApp({ engine: { failures } }, async ({ post, logs }) => {
    const cases = [["lost", 503], ["busy", 429], ["bug", 500]] as const;
    for (const [prompt, status] of cases) {
      const response = await post(inferencePath, { prompt });
      assert.equal(response.status, status, prompt);
      const { error } = await response.json();
      assert.doesNotMatch(error.message, /secret/);
      if (status !== 500) assert.ok(response.headers.get("Retry-After"));
      const events = await allEvents(await post(inferencePath, { prompt, stream: true }));
      assert.equal(events.at(-1)!.event, "error");
      assert.equal(events.at(-1)!.data.status, status);
    }
    const refused = await post(inferencePath, { prompt: "the engine refuses this" });
    assert.equal(refused.status, 422);
    assert.equal((await refused.json()).error.param, "prompt");
    const bugs = logs.filter(({ errorName }) => errorName === "TypeError");
    assert.equal(bugs.length, 2, "each failure is logged once, with its reason");
    assert.match(String(bugs[0]!.stack), /secret of the implementation/);
  });
});

Deno.test("inference leaves memory as it was after 200 good, bad and cancelled requests", async () => {
  const failures = { bad: () => new RangeError("a test says so") };
  await withApp({ engine: { failures } }, async ({ post, request, engine, jobs, logs }) => {
    for (let k = 0; k < 200; k++) {
      const prompt = k % 4 === 1 ? "bad" : "good";
      const pending = post(inferencePath, {
        prompt,
        num_inference_steps: 2,
        job: `job-number-${k}`,
      });
      if (k % 4 === 2) {
        await until(() => jobs.counts().active === 1, "the job runs");
        await (await request(`/api/jobs/job-number-${k}`, { method: "DELETE" })).text();
      }
      await (await pending).text();
    }
    assert.equal(engine.status().memory.requests, 0);
    assert.deepEqual(jobs.counts(), { total: 200, active: 0, waiting: 0 });
    const outcomes = Object.groupBy(
      logs.filter(({ event }) => event === "job"),
      ({ outcome }) => String(outcome),
    );
    assert.equal(outcomes.failed!.length, 50);
    assert.equal(outcomes.cancelled!.length, 50);
    assert.equal(outcomes.completed!.length, 100);
  });
});

Deno.test("the log has a line for each request and job, and prompts only on demand", async () => {
  for (const logPrompts of [false, true]) {
    await withApp({ config: { logPrompts } }, async ({ post, logs }) => {
      const prompt = "a very private wish";
      const response = await post(inferencePath, { prompt, negative_prompt: "and its opposite" });
      const { job } = await response.json();
      const line = logs.find(({ event }) => event === "job")!;
      assert.equal(line.job, job);
      assert.equal(line.outcome, "completed");
      assert.equal(logs.find(({ event }) => event === "request")!.job, job);
      const text = JSON.stringify(logs);
      assert.equal(text.includes(prompt), logPrompts);
      assert.equal(text.includes("opposite"), logPrompts);
    });
  }
});
