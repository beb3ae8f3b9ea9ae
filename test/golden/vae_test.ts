/** The autoencoder against diffusers, both ways, square and not. */
import assert from "node:assert/strict";
import { DecodeStage } from "../../src/pipeline/decode_stage.ts";
import { assertClose } from "../gpu.ts";
import { psnr, tolerance } from "../tolerance.ts";
import { golden, openFixture } from "./fixture.ts";

const { gpu, model, components } = await openFixture();
const { scaling_factor, shift_factor } = model.configs.decoder;

for (const name of ["vae_128x128", "vae_64x96"]) {
  Deno.test(`${name} decodes`, async () => {
    const vectors = await golden(name);
    const { shape, values } = vectors("decoder_input");
    const latents = values.map((v) => (v - shift_factor) * scaling_factor);
    const [, , height, width] = vectors("decoded").shape as [number, number, number, number];
    const out = gpu.createTensor([1, height, width, 3], "decoded", "other");
    await components.decoder.decode(gpu.upload(latents, shape, "latents", "other"), out);
    const nchw = vectors("decoded").values;
    const nhwc = nchw.map((_, i) => nchw[(i % 3) * height * width + Math.floor(i / 3)]!);
    assertClose(await gpu.readFloats(out), nhwc, tolerance.module);
  });

  Deno.test(`${name} encodes`, async () => {
    const vectors = await golden(name);
    const { shape, values } = vectors("encoder_input");
    const mean = vectors("encoded_mean");
    const out = gpu.createTensor(
      [1, 2 * mean.shape[1]!, ...mean.shape.slice(2)],
      "moments",
      "other",
    );
    await components.encoder!.encode(gpu.upload(values, shape, "image", "other"), out);
    const moments = await gpu.readFloats(out);
    const half = moments.length / 2;
    assertClose(moments.subarray(0, half), mean.values, tolerance.module, "mean");
    const logvar = moments.subarray(half).map((v) => Math.min(20, Math.max(-30, v)));
    assertClose(logvar, vectors("encoded_logvar").values, tolerance.module, "logvar");
  });
}

Deno.test("pixels are rounded as diffusers rounds them", async () => {
  const vectors = await golden("vae_128x128");
  const { shape, values } = vectors("latents");
  const stage = new DecodeStage(gpu, components.decoder);
  const { data } = await stage.decode(gpu.upload(values, shape, "latents", "other"));
  const expected = vectors("image_u8").values;
  const off = data.filter((value, i) => Math.abs(value - expected[i]!) > 1).length;
  assert.equal(off, 0, "no pixel is off by more than one");
  assert.ok(psnr(data, expected) > 60);
});

Deno.test("tiled decoding agrees with decoding whole", async () => {
  const vectors = await golden("vae_128x128");
  const { shape, values } = vectors("latents");
  const stage = new DecodeStage(gpu, components.decoder);
  const latents = gpu.upload(values, shape, "latents", "other");
  const whole = await stage.decode(latents);
  const tiled = await stage.decode(latents, { maxTile: 12 });
  const found = psnr(tiled.data, whole.data);
  assert.ok(found >= tolerance.tiledPsnr, `${found.toFixed(1)} dB`);
});
