import assert from "node:assert/strict";
import fc from "fast-check";
import { allEvents, type Fixture, withApp } from "./fixture.ts";

const inferencePath = "/api/diffusers/inference";

Deno.test("inference refuses wrong fields with 422, names them and says what is allowed", async () => {
  await withApp({ config: { maxPromptLength: 20, maxSteps: 50 } }, async ({ post, engine }) => {
    const cases: [Record<string, unknown>, string, RegExp][] = [
      [{ prompt: undefined }, "prompt", /prompt: is required/],
      [{ prompt: 3 }, "prompt", /expected string, received number/],
      [{ prompt: null }, "prompt", /expected string/],
      [{ prompt: ["a"] }, "prompt", /expected string/],
      [{ prompt: "x".repeat(21) }, "prompt", /at most 20 characters/],
      [{ prompt: "\ud800" }, "prompt", /valid Unicode/],
      [{ negative_prompt: "x".repeat(21) }, "negative_prompt", /at most 20/],
      [{ height: 100 }, "height", /multiple of 16 from 16 to 1024/],
      [{ width: 0 }, "width", /multiple of 16/],
      [{ width: -16 }, "width", /multiple of 16/],
      [{ width: 2048 }, "width", /to 1024/],
      [{ width: "64" }, "width", /multiple of 16/],
      [{ width: 64.5 }, "width", /multiple of 16/],
      [{ num_inference_steps: 0 }, "num_inference_steps", /whole number from 1 to 50/],
      [{ num_inference_steps: 51 }, "num_inference_steps", /1 to 50/],
      [{ num_inference_steps: 2.5 }, "num_inference_steps", /1 to 50/],
      [{ num_inference_steps: true }, "num_inference_steps", /1 to 50/],
      [{ num_images_per_prompt: 9 }, "num_images_per_prompt", /1 to 8/],
      [{ guidance_scale: -1 }, "guidance_scale", /0 to 100/],
      [{ guidance_scale: "7" }, "guidance_scale", /number from 0 to 100/],
      [{ seed: -2 }, "seed", /whole number from -1/],
      [{ seed: 2 ** 53 }, "seed", /whole number from -1/],
      [{ max_sequence_length: 513 }, "max_sequence_length", /1 to 512/],
      [{ sigmas: [] }, "sigmas", /./],
      [{ sigmas: [1, "x"] }, "sigmas[1]", /above 0 and at most 1/],
      [{ sigmas: [1, 0] }, "sigmas[1]", /above 0/],
      [{ sigmas: [0.5, 0.5] }, "sigmas", /must fall strictly/],
      [{ sigmas: [1, 0.5], num_inference_steps: 3 }, "sigmas", /give one of the two/],
      [{ skip_layer_guidance_scale: 3 }, "skip_layer_guidance_scale", /needs skip_guidance_layers/],
      [{ sigmas: Array(51).fill(1) }, "sigmas", /50/],
      [{ skip_guidance_layers: [6] }, "skip_guidance_layers[0]", /0 to 5/],
      [{ stream: "yes" }, "stream", /true or false/],
      [{ preview_every: -1 }, "preview_every", /0 to 50/],
      [{ job: "../etc" }, "job", /8 to 64/],
      [{ steps: 5 }, "steps", /Unknown field "steps"/],
      [{ ["k".repeat(1000)]: 5 }, `${"k".repeat(64)}...`, /Unknown field "k{64}\.\.\."/],
    ];
    for (const [extra, param, message] of cases) {
      const response = await post(inferencePath, { prompt: "a", ...extra });
      const { error } = await response.json();
      assert.equal(response.status, 422, JSON.stringify(extra).slice(0, 100));
      assert.equal(error.type, "invalid_request_error");
      assert.equal(error.param, param);
      assert.match(error.message, message);
    }
    assert.equal(engine.requests.length, 0);
  });
});

Deno.test("inference answers what is no JSON object with 400, 415 or 413", async () => {
  await withApp({ config: { maxBodyBytes: 1000 } }, async ({ post, request }) => {
    const send = async (body: BodyInit | null, type: string | undefined, status: number) => {
      const headers = new Headers(type === undefined ? {} : { "Content-Type": type });
      const response = await request(inferencePath, { method: "POST", body, headers });
      const { error } = await response.json();
      assert.equal(response.status, status, `${type}: ${error.message}`);
      assert.ok(error.message.length > 10);
    };
    const json = "application/json";
    for (
      const body of ["", "{", "nonsense", '{"prompt": "a"', "[]", '"a"', "3", "null", "\u0000"]
    ) {
      await send(body, json, 400);
    }
    await send(new Uint8Array([0xff, 0xfe, 0x00]), json, 400);
    await send('{"prompt":"a"}', "text/plain", 415);
    await send('{"prompt":"a"}', "application/x-www-form-urlencoded", 415);
    await send(new Blob(['{"prompt":"a"}']), undefined, 415);
    await send(`{"prompt":"${"a".repeat(1000)}"}`, json, 413);
    const endless = new ReadableStream({
      pull: (controller) => controller.enqueue(new TextEncoder().encode(" ".repeat(100))),
    });
    await send(endless, json, 413);
    const blank = await post(inferencePath, { prompt: "  \n " });
    assert.equal(blank.status, 400);
    assert.match((await blank.json()).error.message, /No prompt provided/);
    const charset = await request(inferencePath, {
      method: "POST",
      body: '{"prompt":"a"}',
      headers: { "Content-Type": "application/json; charset=utf-8" },
    });
    assert.equal(charset.status, 200);
    await charset.text();
  });
});

Deno.test("inference gives a body that does not arrive 408", async () => {
  await withApp({ config: { bodyTimeout: 0.05 } }, async ({ request }) => {
    for (const length of [undefined, "20"]) {
      const response = await request(inferencePath, {
        method: "POST",
        body: new ReadableStream({ start: (c) => c.enqueue(new TextEncoder().encode("{")) }),
        headers: {
          "Content-Type": "application/json",
          ...(length && { "Content-Length": length }),
        },
      });
      assert.equal(response.status, 408);
      assert.match((await response.json()).error.message, /within 0.05 seconds/);
    }
  });
});

Deno.test("wrong methods get 405 with Allow, unknown paths 404, both as JSON", async () => {
  await withApp({}, async ({ request }) => {
    const cases = [
      ["GET", inferencePath, 405, "POST"],
      ["PUT", inferencePath, 405, "POST"],
      ["POST", "/api/status", 405, "GET, HEAD"],
      ["DELETE", "/images/x.png", 405, "GET, HEAD"],
      ["GET", "/api/jobs/x", 405, "DELETE"],
      ["PATCH", "/v1/images/generations", 405, "POST"],
      ["POST", "/", 405, "GET, HEAD"],
      ["GET", "/api", 404, null],
      ["POST", "/nothing/here", 404, null],
      ["DELETE", "/api/jobs/", 404, null],
    ] as const;
    for (const [method, path, status, allow] of cases) {
      const response = await request(path, { method });
      assert.equal(response.status, status, `${method} ${path}`);
      assert.equal(response.headers.get("Allow"), allow);
      assert.ok((await response.json()).error.message);
    }
  });
});

/** Bodies that are wrong in every way that JSON allows, and in ways that it does not. */
const bodies = fc.oneof(
  fc.string(),
  fc.json(),
  fc.jsonValue().map((value) => JSON.stringify(value)),
  fc.record({
    prompt: fc.oneof(fc.jsonValue(), fc.string(), fc.constant("a")),
    height: fc.oneof(fc.jsonValue(), fc.integer()),
    num_inference_steps: fc.oneof(fc.jsonValue(), fc.integer(), fc.double()),
    seed: fc.oneof(fc.jsonValue(), fc.double()),
    sigmas: fc.array(fc.oneof(fc.jsonValue(), fc.double())),
    stream: fc.oneof(fc.jsonValue(), fc.boolean()),
    model: fc.oneof(fc.jsonValue(), fc.string()),
    n: fc.jsonValue(),
    size: fc.oneof(fc.string(), fc.constant("16x"), fc.jsonValue()),
  }, { requiredKeys: ["prompt"] }).map((value) => JSON.stringify(value)),
  fc.dictionary(fc.string(), fc.jsonValue()).map((value) => JSON.stringify(value)),
  fc.nat(3000).map((depth) => "[".repeat(depth) + "]".repeat(depth)),
  fc.constantFrom(
    '{"__proto__":{"prompt":"a"}}',
    '{"constructor":{"prototype":{"prompt":"a"}},"prompt":1}',
    '{"prompt":"a","seed":1e400}',
    '{"prompt":"a","num_inference_steps":1e-400}',
  ),
);

const attempts = fc.record({
  method: fc.constantFrom(
    "POST",
    "POST",
    "POST",
    "POST",
    "GET",
    "PUT",
    "DELETE",
    "OPTIONS",
    "HEAD",
  ),
  path: fc.oneof(
    { weight: 5, arbitrary: fc.constantFrom(inferencePath, "/v1/images/generations") },
    {
      weight: 1,
      arbitrary: fc.webPath().map((path) => path.startsWith("/") ? path : `/${path}`),
    },
    { weight: 1, arbitrary: fc.string().map((name) => `/images/${encodeURIComponent(name)}`) },
    { weight: 1, arbitrary: fc.string().map((name) => `/api/jobs/${encodeURIComponent(name)}`) },
  ),
  type: fc.constantFrom("application/json", "application/json", "application/json", "text/plain"),
  accept: fc.constantFrom("*/*", "text/event-stream", "text/html", ";;q=,"),
  body: bodies,
});

Deno.test("2,000 random malformed requests get an answer below 500, and the server lives on", async () => {
  await withApp({ config: { maxSteps: 3, maxSize: 32 } }, async (fixture) => {
    const statuses = new Map<number, number>();
    await fc.assert(
      fc.asyncProperty(attempts, async ({ method, path, type, accept, body }) => {
        const bodyless = ["GET", "HEAD"].includes(method);
        const response = await fixture.request(path, {
          method,
          headers: { "Content-Type": type, Accept: accept },
          ...(!bodyless && { body }),
        });
        statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
        const text = await response.text();
        assert.ok(response.status < 500, `${response.status}: ${text}`);
        if (response.status >= 400 && method !== "HEAD") {
          assert.equal(typeof JSON.parse(text).error.message, "string");
        }
      }),
      { numRuns: 2000, seed: 20_260_101 },
    );
    for (const status of [400, 404, 405, 415, 422]) {
      assert.ok((statuses.get(status) ?? 0) > 10, `${status} was hardly tried`);
    }
    await assertAlive(fixture);
  });
});

async function assertAlive({ post, request, jobs, logs }: Fixture): Promise<void> {
  assert.deepEqual(logs.filter(({ level }) => level === "error"), []);
  assert.equal(jobs.counts().active, 0);
  assert.equal((await request("/api/status")).status, 200);
  const events = await allEvents(await post(inferencePath, { prompt: "a", stream: true }));
  assert.equal(events.at(-1)!.event, "completed");
  assert.equal(({} as Record<string, unknown>).prompt, undefined, "no prototype was polluted");
}
