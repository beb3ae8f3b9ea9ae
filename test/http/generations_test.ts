import assert from "node:assert/strict";
import { decodePng } from "../../src/image/png.ts";
import { allEvents, withApp } from "./fixture.ts";

const generationsPath = "/v1/images/generations";

Deno.test("generations answers with URLs by default", async () => {
  await withApp({}, async ({ post, request, engine }) => {
    const response = await post(generationsPath, {
      model: "fake-sd3",
      prompt: "a",
      n: 2,
      size: "64x48",
      seed: 5,
      num_inference_steps: 3,
      guidance_scale: 2,
      negative_prompt: "b",
      user: "somebody",
    });
    assert.equal(response.status, 200);
    const answer = await response.json();
    assert.ok(Math.abs(answer.created - Date.now() / 1000) < 5);
    assert.deepEqual(answer.data.map(({ seed }: { seed: number }) => seed), [5, 6]);
    assert.equal(answer.size, "64x48");
    const image = await request(new URL(answer.data[1].url).pathname);
    assert.equal(decodePng(await image.bytes()).width, 64);
    const { width, height, numImagesPerPrompt, guidanceScale, negativePrompt } = engine
      .requests[0]!;
    assert.deepEqual([width, height, numImagesPerPrompt, guidanceScale, negativePrompt], [
      64,
      48,
      2,
      2,
      "b",
    ]);
  });
});

Deno.test("generations answers with base64 on request, and stores nothing", async () => {
  await withApp({}, async ({ post, images }) => {
    const response = await post(generationsPath, {
      prompt: "a",
      response_format: "b64_json",
      size: "auto",
    });
    const { data } = await response.json();
    assert.equal(data[0].url, undefined);
    assert.equal(decodePng(Uint8Array.fromBase64(data[0].b64_json)).width, 32);
    assert.equal(images.usage().count, 0);
  });
});

Deno.test("generations and inference give the same pixels for the same request", async () => {
  await withApp({}, async ({ post, request }) => {
    const shared = { prompt: "a", seed: 3, num_inference_steps: 2, guidance_scale: 3 };
    const one = await (await post(generationsPath, { ...shared, response_format: "b64_json" }))
      .json();
    const two = await (await post("/api/diffusers/inference", shared)).json();
    const file = await (await request(new URL(two.response[0]).pathname)).bytes();
    assert.deepEqual(Uint8Array.fromBase64(one.data[0].b64_json), file);
  });
});

Deno.test("generations streams OpenAI's events", async () => {
  await withApp({}, async ({ post }) => {
    for (const [partial_images, steps, expected] of [[0, 4, 0], [2, 9, 2], [3, 2, 1]]) {
      const body = { prompt: "a", stream: true, partial_images, num_inference_steps: steps };
      const events = await allEvents(await post(generationsPath, body));
      const partial = events.filter(({ event }) => event === "image_generation.partial_image");
      assert.equal(partial.length, expected, `${partial_images} of ${steps} steps`);
      for (const [k, { data }] of partial.entries()) {
        assert.equal(data.type, "image_generation.partial_image");
        assert.equal(data.partial_image_index, k);
        assert.equal(data.output_format, "png");
        decodePng(Uint8Array.fromBase64(data.b64_json));
      }
      const last = events.at(-1)!;
      assert.equal(events.length, expected! + 1);
      assert.equal(last.event, "image_generation.completed");
      assert.equal(last.data.type, last.event);
      assert.equal(last.data.size, "32x32");
      assert.equal(last.data.parameters.num_inference_steps, steps);
      assert.equal(decodePng(Uint8Array.fromBase64(last.data.b64_json)).width, 32);
    }
  });
});

Deno.test("generations streams an error as an event", async () => {
  const failures = { bug: () => new TypeError("a test says so") };
  await withApp({ engine: { failures } }, async ({ post }) => {
    const events = await allEvents(await post(generationsPath, { prompt: "bug", stream: true }));
    assert.equal(events.at(-1)!.event, "error");
    assert.equal(events.at(-1)!.data.type, "error");
    assert.equal(events.at(-1)!.data.error.type, "server_error");
  });
});

Deno.test("generations refuses with 400 and names the field", async () => {
  await withApp({}, async ({ post }) => {
    const cases: [object, string, RegExp][] = [
      [{ size: "100x100" }, "size", /multiples of 16 from 16 to 1024, not "100x100"/],
      [{ size: "big" }, "size", /WIDTHxHEIGHT/],
      [{ n: 0 }, "n", /from 1 to 8/],
      [{ response_format: "jpeg" }, "response_format", /"url"\|"b64_json"/],
      [{ output_format: "webp" }, "output_format", /"png"/],
      [{ quality: "hd" }, "quality", /"auto"\|"standard"/],
      [{ background: "transparent" }, "background", /"opaque"/],
      [{ partial_images: 4 }, "partial_images", /0 to 3/],
      [{ style: "vivid" }, "style", /Unknown field "style"/],
      [{ prompt: "" }, "prompt", /No prompt/],
    ];
    for (const [extra, param, message] of cases) {
      const response = await post(generationsPath, { prompt: "a", ...extra });
      assert.equal(response.status, 400, JSON.stringify(extra));
      const { error } = await response.json();
      assert.equal(error.param, param);
      assert.match(error.message, message);
    }
  });
});

Deno.test("GET /v1/models lists the loaded model under its published name", async () => {
  await withApp({ config: { modelName: "my-model" } }, async ({ request, post }) => {
    const { object, data } = await (await request("/v1/models")).json();
    assert.equal(object, "list");
    assert.equal(data.length, 1);
    assert.equal(data[0].id, "my-model");
    assert.equal((await request("/v1/models/my-model")).status, 200);
    assert.equal((await request("/v1/models/other")).status, 404);
    const wrong = await post(generationsPath, { prompt: "a", model: "fake-sd3" });
    assert.equal(wrong.status, 404);
    assert.equal((await wrong.json()).error.type, "model_not_found_error");
  });
});
