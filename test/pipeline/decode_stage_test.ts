/** Decoding in tiles: close to the whole image, within its memory, and interruptible. */
import assert from "node:assert/strict";
import { dryGpu } from "../../src/gpu/dry_device.ts";
import type { DecoderComponent } from "../../src/models/sd3/components.ts";
import { DecodeStage } from "../../src/pipeline/decode_stage.ts";
import { layOutModel } from "../../src/backends/load.ts";
import { psnr } from "../tolerance.ts";
import { components, gpu, model, openPipeline } from "./small_requests.ts";

const { decoder } = components;
const stage = new DecodeStage(gpu, decoder);

/** Latents of a picture that the model made: only those tell how well tiles join. */
async function latentsOf(height: number, width: number) {
  const pipeline = openPipeline();
  const request = {
    ...{ prompt: "a red heart on a white background", seed: 0, height, width },
    numInferenceSteps: 8,
    guidanceScale: 4,
  };
  let kept: Float32Array<ArrayBuffer> | undefined;
  pipeline.decodeStage.decode = async (latents) => {
    kept = await gpu.readFloats(latents);
    return { width: 0, height: 0, data: new Uint8Array(0) };
  };
  await pipeline.generate(request);
  return gpu.upload(kept!, pipeline.latentShape(height, width), "latents", "requests");
}

Deno.test("tiles agree with the whole image", async () => {
  const latents = await latentsOf(128, 96);
  const whole = await stage.decode(latents);
  // Each tile is normalised by its own statistics, as in diffusers: small tiles differ most.
  for (const [maxTile, least] of [[12, 30], [8, 26]] as const) {
    const tiled = await stage.decode(latents, { maxTile });
    assert.deepEqual([tiled.width, tiled.height], [whole.width, whole.height]);
    const found = psnr(tiled.data, whole.data);
    assert.ok(found >= least, `tiles of ${maxTile}: ${found.toFixed(1)} dB`);
    assert.notDeepEqual(tiled.data, whole.data, "nothing was tiled");
  }
  gpu.destroyTensor(latents);
});

Deno.test("whole where it fits, else tiles that fit", () => {
  const dry = dryGpu();
  const fake = (maxArea: number, bytesPerLatent?: number) =>
    ({ config: decoder.config, maxArea, bytesPerLatent }) as unknown as DecoderComponent;
  const byDevice = new DecodeStage(dry, fake(32 * 32));
  assert.equal(byDevice.tileEdge(32, 32), 0);
  assert.equal(byDevice.tileEdge(16, 64), 0);
  assert.equal(byDevice.tileEdge(33, 32), 32);
  const byMemory = new DecodeStage(dry, fake(128 * 128, 2 ** 16), { maxBytes: 2 ** 26 });
  assert.equal(byMemory.tileEdge(32, 32), 0);
  assert.equal(byMemory.tileEdge(128, 128), 32);
  assert.equal(byMemory.tileEdge(32, 32, 16), 16);
  const byDefault = new DecodeStage(dry, fake(128 * 128, 2 ** 17));
  const edge = byDefault.tileEdge(128, 128);
  assert.ok(edge > 0 && edge * edge * 2 ** 17 <= 2 ** 30, `tiles of ${edge}`);
});

Deno.test("a decode takes no more than its bytes per latent say, nor much less", async () => {
  const dry = dryGpu(gpu);
  const made = await layOutModel(model, dry);
  for (const [height, width] of [[8, 8], [16, 24], [45, 45]] as const) {
    const device = dryGpu(gpu);
    const parts = await made(device);
    const shape = [1, decoder.config.latent_channels, height, width];
    const latents = device.createTensor(shape, "latents", "requests");
    const out = device.createTensor([1, height * 8, width * 8, 3], "out", "requests");
    await parts.decoder.decode(latents, out);
    const share = device.arena.bytes / (height * width * parts.decoder.bytesPerLatent!);
    assert.ok(share <= 1 && share >= 0.5, `${height}x${width}: ${share} of what is stated`);
  }
});

Deno.test("an abort between tiles ends the decode and gives its memory back", async () => {
  const latents = gpu.createTensor([1, 16, 16, 16], "latents", "requests");
  const { count } = gpu.ledger;
  const stop = new AbortController();
  let tiles = 0;
  const slow: DecoderComponent = {
    ...{ config: decoder.config, maxArea: 64, dispose: () => {} },
    decode: async (tile, out) => {
      if (++tiles === 2) stop.abort(new Error("no longer wanted"));
      await decoder.decode(tile, out);
    },
  };
  const slowStage = new DecodeStage(gpu, slow);
  await assert.rejects(slowStage.decode(latents, { signal: stop.signal }), /no longer wanted/);
  assert.equal(tiles, 2);
  // One program for tiles of this size stays recorded.
  assert.ok(gpu.ledger.count <= count + 1 + gpu.arena.sizes.length);
  assert.equal(gpu.ledger.bytes("requests"), latents.byteLength);
  gpu.destroyTensor(latents);
});

Deno.test("a decoder that fails fails one image, and the next is decoded", async () => {
  const latents = gpu.createTensor([1, 16, 8, 8], "latents", "requests");
  let broken = true;
  const decode: DecoderComponent["decode"] = (tile, out) => {
    if (broken) throw new Error("broken decoder");
    return decoder.decode(tile, out);
  };
  const flaky: DecoderComponent = {
    ...{ config: decoder.config, maxArea: decoder.maxArea, dispose: () => {}, decode },
  };
  const flakyStage = new DecodeStage(gpu, flaky);
  await assert.rejects(flakyStage.decode(latents), /broken decoder/);
  broken = false;
  assert.equal((await flakyStage.decode(latents)).width, 64);
  gpu.destroyTensor(latents);
});
