import assert from "node:assert/strict";
import { withApp } from "./fixture.ts";

const inferencePath = "/api/diffusers/inference";

Deno.test("GET /api/status reports the model, memory, requests, adapter and limits", async () => {
  const config = { maxQueue: 5, maxConcurrency: 2, maxSteps: 40, maxSize: 512 };
  await withApp({ config }, async ({ request, post, engine }) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    engine.gate = promise;
    const pending = [1, 2, 3].map((seed) => post(inferencePath, { prompt: "a", seed }));
    while (engine.requests.length < 2) await new Promise((done) => setTimeout(done, 1));
    const status = await (await request("/api/status")).json();
    assert.equal(status.current_model, "fake-sd3");
    assert.equal(status.type_models, "t2im");
    assert.equal(status.pipeline, "StableDiffusion3Pipeline");
    assert.equal(status.variant, "SD3.5-medium");
    assert.deepEqual(status.recommended.skip_guidance_layers, [1, 2]);
    assert.equal(status.recommended.skip_layer_guidance_scale, 2.8);
    assert.equal(status.state, "ready");
    assert.deepEqual(status.requests, { total: 3, active: 2, waiting: 1 });
    assert.equal(status.memory.requests, 2000);
    assert.deepEqual(status.prompt_cache, { hits: 0, misses: 2 });
    assert.equal(status.adapter.vendor, "fake");
    assert.equal(status.limits.max_width, 512);
    assert.equal(status.limits.size_multiple, 16);
    assert.equal(status.limits.max_num_inference_steps, 40);
    assert.equal(status.limits.max_queue, 5);
    assert.equal(status.defaults.guidance_scale, 7);
    resolve();
    for (const response of await Promise.all(pending)) await response.text();
    const after = await (await request("/api/status")).json();
    assert.deepEqual(after.requests, { total: 3, active: 0, waiting: 0 });
    assert.equal(after.memory.requests, 0);
    assert.equal(after.images.count, 3);
  });
});

Deno.test("GET /api/status says what was chosen by timing, if anything was", async () => {
  const tuning = {
    seconds: 1.5,
    kernels: [{ key: "linear 8x8 f16 @4", choice: "wide", source: "cached" as const }],
    batches: [{ tokens: 64, images: 4, source: "measured" as const }],
  };
  await withApp({ engine: { tuning } }, async ({ request }) => {
    const status = await (await request("/api/status")).json();
    assert.deepEqual(status.tuning, {
      seconds: 1.5,
      kernels: [{ shape: "linear 8x8 f16 @4", kernel: "wide", source: "cached" }],
      batches: [{ tokens: 64, max_batch: 4, source: "measured" }],
    });
  });
  const problem = "Tuning results are ignored: broken";
  await withApp({ engine: { tuning: { ...tuning, problem } } }, async ({ request }) => {
    const status = await (await request("/api/status")).json();
    assert.equal(status.tuning.problem, problem);
  });
  await withApp({}, async ({ request }) => {
    const status = await (await request("/api/status")).json();
    assert.equal("tuning" in status, false);
  });
});

Deno.test("the API key guards everything but health, images, the page and the API's description", async () => {
  await withApp({ config: { apiKey: "key-123" } }, async ({ request, post, images }) => {
    const image = await images.save(new Uint8Array(3));
    const open = ["/", "/healthz", "/readyz", "/openapi.json", "/docs", `/images/${image}`];
    for (const path of open) {
      const response = await request(path);
      assert.equal(response.status, 200, path);
      await response.text();
    }
    const guarded = ["/api/status", "/v1/models", "/metrics", "/model/index.json"];
    for (const path of guarded) {
      const response = await request(path);
      assert.equal(response.status, 401, path);
      assert.match(response.headers.get("WWW-Authenticate")!, /^Bearer/);
      assert.equal((await response.json()).error.type, "authentication_error");
    }
    assert.equal((await request("/api/jobs/x", { method: "DELETE" })).status, 401);
    assert.equal((await post(inferencePath, "{ not even read")).status, 401);
    assert.equal((await post("/v1/images/generations", { prompt: "a" })).status, 401);
    const wrong = ["Bearer key-124", "Bearer key-1234", "Bearer", "Basic key-123", "key-123"];
    for (const Authorization of wrong) {
      const response = await request("/api/status", { headers: { Authorization } });
      assert.equal(response.status, 401, Authorization);
    }
    const right: Record<string, string>[] = [
      { Authorization: "Bearer key-123" },
      { Authorization: "bearer key-123" },
      { "X-API-Key": "key-123" },
    ];
    for (const headers of right) {
      assert.equal((await request("/api/status", { headers })).status, 200);
      assert.equal((await post(inferencePath, { prompt: "a" }, { headers })).status, 200);
    }
  });
});

Deno.test("image URLs start where the client believes the server to be", async () => {
  const urlOf = async (config: object, headers: Record<string, string>) => {
    let url = "";
    await withApp({ config }, async ({ post }) => {
      const response = await post(inferencePath, { prompt: "a" }, { headers });
      url = (await response.json()).response[0];
    });
    return url.replace(/\/images\/img[0-9a-f]{32}\.png$/, "");
  };
  const forwarded = {
    Host: "10.0.0.1:8500",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "art.example, inner.example",
    "X-Forwarded-Prefix": "/sd/",
  };
  assert.equal(await urlOf({}, { Host: "gpu.lan:8500" }), "http://gpu.lan:8500");
  assert.equal(await urlOf({}, { Host: "[::1]:8500" }), "http://[::1]:8500");
  assert.equal(await urlOf({}, forwarded), "https://art.example/sd");
  assert.equal(await urlOf({ trustProxy: false }, forwarded), "http://10.0.0.1:8500");
  assert.equal(await urlOf({ publicUrl: "https://p.example/x" }, forwarded), "https://p.example/x");
  const bad = { "X-Forwarded-Host": 'a"><script>', "X-Forwarded-Proto": "javascript" };
  assert.equal(await urlOf({}, bad), "http://localhost");
});

Deno.test("CORS admits every origin, or the configured ones", async () => {
  await withApp({}, async ({ request }) => {
    const preflight = await request(inferencePath, {
      method: "OPTIONS",
      headers: {
        Origin: "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, x-anything",
      },
    });
    assert.equal(preflight.status, 204);
    assert.equal(preflight.headers.get("Access-Control-Allow-Origin"), "https://app.example");
    assert.equal(preflight.headers.get("Access-Control-Allow-Credentials"), "true");
    assert.match(preflight.headers.get("Access-Control-Allow-Headers")!, /x-anything/);
    assert.match(preflight.headers.get("Access-Control-Allow-Methods")!, /DELETE/);
    const refused = await request("/nothing", { headers: { Origin: "https://app.example" } });
    assert.equal(refused.headers.get("Access-Control-Allow-Origin"), "https://app.example");
    assert.match(refused.headers.get("Access-Control-Expose-Headers")!, /X-Job-Id/);
  });
  await withApp({ config: { corsOrigin: ["https://a.example"] } }, async ({ request }) => {
    for (
      const [origin, expected] of [["https://a.example", "https://a.example"], [
        "https://b.example",
        null,
      ]]
    ) {
      const response = await request("/api/status", { headers: { Origin: origin! } });
      assert.equal(response.headers.get("Access-Control-Allow-Origin"), expected);
    }
  });
});

Deno.test("/healthz and /readyz tell a draining server from a dead one", async () => {
  await withApp({}, async ({ request, post, jobs }) => {
    assert.equal((await request("/readyz")).status, 200);
    await jobs.drain(0);
    assert.equal((await request("/healthz")).status, 200);
    const ready = await request("/readyz");
    assert.equal(ready.status, 503);
    assert.deepEqual(await ready.json(), { status: "shutting down" });
    const refused = await post(inferencePath, { prompt: "a" });
    assert.equal(refused.status, 503);
    assert.match((await refused.json()).error.message, /shutting down/);
  });
});

Deno.test("/metrics counts what happened", async () => {
  const failures = { bug: () => new TypeError("a test says so") };
  await withApp({ engine: { failures } }, async ({ request, post }) => {
    await post(inferencePath, { prompt: "a", num_inference_steps: 4, num_images_per_prompt: 2 });
    await post(inferencePath, { prompt: "bug" });
    const response = await request("/metrics");
    assert.match(response.headers.get("Content-Type")!, /^text\/plain; version=0\.0\.4/);
    const text = await response.text();
    const expected = [
      'sd_requests_total{outcome="completed"} 1',
      'sd_requests_total{outcome="failed"} 1',
      'sd_requests_total{outcome="cancelled"} 0',
      "sd_images_total 2",
      "sd_step_seconds_count 3",
      'sd_stage_seconds_count{stage="denoise"} 1',
      "sd_requests_active 0",
      "sd_requests_waiting 0",
      'sd_gpu_bytes{owner="weights"} 50000',
      "sd_gpu_budget_bytes 1000000",
      'sd_prompt_cache_lookups{result="miss"} 2',
      "sd_stored_images 2",
      `http_request_duration_seconds_count{method="POST",route="${inferencePath}",status="200"} 1`,
      `http_request_duration_seconds_count{method="POST",route="${inferencePath}",status="500"} 1`,
    ];
    for (const line of expected) assert.ok(text.includes(`\n${line}\n`), `${line}\n${text}`);
    assert.match(text, /\nprocess_resident_memory_bytes [1-9]\d+\n/);
  });
});

Deno.test("/metrics has as many series after a thousand different paths as before", async () => {
  await withApp({}, async ({ request }) => {
    const series = async () =>
      (await (await request("/metrics")).text()).split("\n")
        .filter((line) => line.startsWith("http_request_duration_seconds_count")).length;
    await request("/images/first.png");
    await request("/first");
    await series();
    const before = await series();
    for (let k = 0; k < 500; k++) {
      await request(`/images/${k}.png`);
      await request(`/${k}/${k}`);
    }
    assert.equal(await series(), before);
  });
});

Deno.test("/openapi.json describes every route from the schemas that validate", async () => {
  await withApp({ config: { maxSteps: 77 } }, async ({ request }) => {
    const document = await (await request("/openapi.json")).json();
    assert.equal(document.openapi, "3.1.0");
    const operations = Object.entries(document.paths).flatMap(([path, item]) =>
      Object.keys(item as object).map((method) => `${method} ${path}`)
    );
    assert.deepEqual(operations.sort(), [
      "delete /api/jobs/{id}",
      "get /api/status",
      "get /healthz",
      "get /images/{filename}",
      "get /metrics",
      "get /readyz",
      "get /v1/models",
      "get /v1/models/{model}",
      "post /api/diffusers/inference",
      "post /v1/images/generations",
    ]);
    const { InferenceRequest } = document.components.schemas;
    assert.deepEqual(InferenceRequest.required, ["prompt"]);
    assert.equal(InferenceRequest.additionalProperties, false);
    const { num_inference_steps, height } = InferenceRequest.properties;
    assert.equal(num_inference_steps.maximum, 77);
    assert.equal(num_inference_steps.default, 4);
    assert.equal(height.multipleOf, 16);
    // Every reference leads somewhere.
    for (const [, name] of JSON.stringify(document).matchAll(/#\/components\/schemas\/(\w+)/g)) {
      assert.ok(document.components.schemas[name!], name);
    }
  });
});

Deno.test("/docs is one page without scripts or requests, under a policy that says so", async () => {
  await withApp({}, async ({ request }) => {
    const response = await request("/docs");
    const html = await response.text();
    assert.match(response.headers.get("Content-Type")!, /text\/html/);
    assert.match(html, /<code>\/api\/diffusers\/inference<\/code>/);
    assert.match(html, /guidance_scale/);
    assert.match(html, /multiple of 16/);
    assert.doesNotMatch(html, /<script|<link|<img|src=|\bundefined\b|\[object/);
    const policy = response.headers.get("Content-Security-Policy")!;
    assert.match(policy, /^default-src 'none'; style-src 'sha256-/);
    const style = /<style>([\s\S]*)<\/style>/.exec(html)![1]!;
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(style));
    assert.ok(policy.includes(new Uint8Array(digest).toBase64()));
  });
});
