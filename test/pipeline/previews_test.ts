/** Previews of a request: due steps, small images, and memory that comes back. */
import assert from "node:assert/strict";
import type { DecoderComponent } from "../../src/models/sd3/components.ts";
import { PreviewProjection, Previews } from "../../src/pipeline/previews.ts";
import type { ProgressEvent } from "../../src/engine/types.ts";
import { components, gpu, openPipeline, requests } from "./small_requests.ts";

const shape = [1, 16, 4, 4];

Deno.test("a preview is due every k-th step, but not after the last", () => {
  const projection = new PreviewProjection(gpu, components.decoder);
  const previews = new Previews(gpu, projection, 6, 2);
  const due = [1, 2, 3, 4, 5, 6].filter((step) => previews.tensor(step, 0, shape));
  assert.deepEqual(due, [2, 4]);
  assert.equal(
    previews.tensor(2, 0, shape),
    previews.tensor(2, 0, shape),
    "a second try reuses it",
  );
  previews.dispose();
  assert.equal(gpu.ledger.bytes("requests"), 0);
  const none = new Previews(gpu, projection, 6, 0);
  assert.equal(none.tensor(2, 0, shape), undefined);
});

Deno.test("progress carries one small image for each of the request's", async () => {
  const pipeline = openPipeline();
  const events: ProgressEvent[] = [];
  await pipeline.generate(
    { ...requests[0]!, numImagesPerPrompt: 2, numInferenceSteps: 4 },
    { previewEvery: 2, onProgress: (event) => events.push(event) },
  );
  assert.deepEqual(events.map((event) => event.type === "progress" && event.step), [1, 2, 3, 4]);
  const sizes = events.map((event) =>
    event.type === "progress" && event.previews?.map(({ width, height }) => [width, height])
  );
  assert.deepEqual(sizes, [undefined, [[4, 4], [4, 4]], undefined, undefined]);
  assert.equal(gpu.ledger.bytes("requests"), 0);
});

Deno.test("a projection that cannot be made frees its memory and is tried anew", async () => {
  let broken = true;
  const decoder: DecoderComponent = {
    ...{ config: components.decoder.config, maxArea: 1e6, dispose: () => {} },
    decode: (latents, out) => {
      if (broken) throw new Error("broken decoder");
      return components.decoder.decode(latents, out);
    },
  };
  const projection = new PreviewProjection(gpu, decoder);
  const previews = new Previews(gpu, projection, 4, 1);
  const { bytes } = { bytes: gpu.ledger.bytes("other") };
  previews.tensor(1, 0, shape);
  await assert.rejects(previews.take(1), /broken decoder/);
  assert.equal(gpu.ledger.bytes("requests"), 0);
  assert.equal(gpu.ledger.bytes("other"), bytes);
  broken = false;
  assert.equal(await projection.get(), await projection.get());
  assert.equal(await previews.take(1), undefined, "taken once");
});
