/** The ONNX networks as components on the shared device, against the golden vectors. */
import assert from "node:assert/strict";
import type { Tensor } from "../../../src/gpu/tensor.ts";
import { copyTensor } from "../../../src/gpu/program.ts";
import { rowsOf } from "../../../src/gpu/tensor.ts";
import type { Components, Step, StepShape } from "../../../src/models/sd3/components.ts";
import { exportOnnx } from "../../../src/backends/onnx/export/mod.ts";
import { dryGpu } from "../../../src/gpu/dry_device.ts";
import type { Gpu } from "../../../src/gpu/device.ts";
import { layOutOnnx, loadOnnx } from "../../../src/backends/onnx/load.ts";
import { packSteps } from "../../../src/ops/guided_step.ts";
import { describeModel } from "../../../src/models/mod.ts";
import { directorySink } from "../../../src/weights/deno_sink.ts";
import { directorySource } from "../../../src/weights/deno_source.ts";
import { assertClose, gpu } from "../../gpu.ts";
import { tolerance } from "../../tolerance.ts";
import { golden, tinyModel } from "./golden.ts";

const tiny = await describeModel(directorySource(tinyModel));
const directory = await Deno.makeTempDir();
await exportOnnx(directorySource(tinyModel), directorySink(directory));
const model = { ...tiny, source: directorySource(directory) };
addEventListener("unload", () => Deno.removeSync(directory, { recursive: true }));

const upload = ({ data, shape }: { data: Float32Array<ArrayBuffer>; shape: readonly number[] }) =>
  gpu.upload(data, shape, "golden", "other");
const empty = (...shape: number[]) => gpu.createTensor(shape, "result", "other");

/** A step whose latents become the velocity itself. */
const takeVelocity = (rows: number) =>
  packSteps(Array.from({ length: rows }, (_, i) => ({
    conditional: i,
    guidance: 0,
    skipScale: 0,
    sample: 0,
    velocity: 1,
    noise: 0,
  })));

async function predict(
  step: Step,
  name: string,
  rows: readonly number[],
): Promise<Float32Array> {
  const g = await golden(name);
  const fill = (target: Tensor, key: string) => {
    const { data, shape } = g.floats(key);
    const size = data.length / shape[0]!;
    for (const [i, row] of rows.entries()) {
      gpu.write(rowsOf(target, i), data.slice(row * size, (row + 1) * size));
    }
  };
  const result = gpu.createTensor(step.images.shape, "velocity", "other");
  const commands = await step.record({
    write: () => {
      fill(step.inputs.latents, "latents");
      fill(step.inputs.timesteps, "timestep");
      fill(step.inputs.context, "prompt_embeds");
      fill(step.inputs.pooled, "pooled_prompt_embeds");
      gpu.write(step.records, takeVelocity(rows.length));
      gpu.write(step.images, new Float32Array(step.images.byteLength / 4));
    },
    before: () => {},
    after: (encoder) => copyTensor(encoder, step.images, result),
  });
  await commands.submit();
  return await gpu.readFloats(result);
}

const shapeOf = (height: number, width: number, rows: number): StepShape => ({
  height,
  width,
  contextLength: 48,
  images: rows,
  rows,
  skipRows: 0,
  skipLayers: [],
  combined: 0,
  slots: 0,
});

Deno.test("the transformer predicts the golden velocities, each row as if alone", async () => {
  const before = gpu.ledger.bytes("weights");
  const { transformer } = await loadOnnx(model, gpu, ["transformer"]);
  const stored = Deno.statSync(`${tinyModel}/transformer/diffusion_pytorch_model.safetensors`).size;
  const weights = gpu.ledger.bytes("weights") - before;
  assert.ok(weights >= stored, `${weights} bytes of weights in the ledger, ${stored} in the file`);

  const name = "transformer_96x160_b2";
  const both = await predict(await transformer!.step(shapeOf(12, 20, 2)), name, [0, 1]);
  assertClose(both, (await golden(name)).floats("sample").data, tolerance.module, name);
  const alone = await predict(await transformer!.step(shapeOf(12, 20, 1)), name, [1]);
  assert.deepEqual(both.subarray(both.length / 2), alone, "bit for bit what it is alone");

  await assert.rejects(
    transformer!.step({ ...shapeOf(16, 16, 1), skipRows: 1, skipLayers: [1] }),
    { name: "InvalidRequestError", param: "skip_guidance_layers" },
  );
  await transformer!.dispose();
  assert.equal(gpu.ledger.bytes("weights"), before, "nothing is left when it is disposed of");
});

Deno.test("the VAE decoder undoes the scaling and gives pixels", async () => {
  const { decoder } = await loadOnnx(model, gpu, ["decoder"]);
  const { scaling_factor, shift_factor } = tiny.configs.decoder;
  const [height, width] = [64, 96];
  const g = await golden("vae_64x96");
  const input = g.floats("decoder_input");
  const latents = upload({
    shape: input.shape,
    data: input.data.map((value) => (value - shift_factor) * scaling_factor),
  });
  const out = empty(1, height, width, 3);
  await decoder!.decode(latents, out);
  const pixels = await gpu.readFloats(out);
  const planes = new Float32Array(pixels.length);
  const area = height * width;
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) planes[c * area + i] = pixels[3 * i + c]!;
  }
  assertClose(planes, g.floats("decoded").data, tolerance.module, "decoded");
  await decoder!.dispose();
});

Deno.test("the VAE encoder gives the moments", async () => {
  const { encoder } = await loadOnnx(model, gpu, ["encoder"]);
  const g = await golden("vae_64x96");
  const out = empty(1, 32, 8, 12);
  await encoder!.encode(upload(g.floats("encoder_input")), out);
  const moments = await gpu.readFloats(out);
  const mean = moments.subarray(0, moments.length / 2);
  assertClose(mean, g.floats("encoded_mean").data, tolerance.module, "mean");
  await encoder!.dispose();
});

Deno.test("the text encoders give hidden states and pooled text, one row at a time", async () => {
  const networks = ["clipL", "clipG", "t5"] as const;
  const { clipL, clipG, t5 } = await loadOnnx(model, gpu, networks);
  const g = await golden("text");
  const rowOf = (key: string, row: number) => {
    const { data, shape } = g.floats(key);
    const size = data.length / shape[0]!;
    return data.subarray(row * size, (row + 1) * size);
  };
  for (let row = 0; row < 3; row++) {
    for (const [i, clip] of [[1, clipL!], [2, clipG!]] as const) {
      const ids = Int32Array.from(g.ids(`ids_${i}`).data.slice(row * 24, row * 24 + 24), Number);
      const hidden = empty(1, 24, clip.hiddenSize);
      const pooled = empty(1, clip.projectionDim);
      await clip.embed(ids, { hidden, pooled });
      const penultimate = rowOf(`penultimate_${i}`, row);
      assertClose(await gpu.readFloats(hidden), penultimate, tolerance.module, `penultimate ${i}`);
      await clip.embed(ids, { hidden, pooled }, i);
      const first = rowOf(`hidden_state_${i}_0`, row);
      assertClose(await gpu.readFloats(hidden), first, tolerance.module, `embeddings ${i}`);
      const embeds = rowOf(`text_embeds_${i}`, row);
      assertClose(await gpu.readFloats(pooled), embeds, tolerance.module, `pooled ${i}`);
    }
    const ids = Int32Array.from(g.ids("ids_3").data.slice(row * 24, row * 24 + 24), Number);
    const out = empty(1, 24, t5!.hiddenSize);
    await t5!.embed(ids, out);
    const wanted = rowOf("last_hidden_state_3", row);
    assertClose(await gpu.readFloats(out), wanted, tolerance.module, "t5");
  }
  for (const encoder of [clipL, clipG, t5]) await encoder!.dispose();
});

Deno.test("calls made at the same time wait for each other", async () => {
  const { clipL, clipG } = await loadOnnx(model, gpu, ["clipL", "clipG"]);
  const g = await golden("text");
  const ids = Int32Array.from(g.ids("ids_1").data.slice(0, 24), Number);
  const run = (clip: typeof clipL) => {
    const pooled = empty(1, clip!.projectionDim);
    return clip!.embed(ids, { hidden: empty(1, 24, clip!.hiddenSize), pooled })
      .then(() => gpu.readFloats(pooled));
  };
  const [first, second, other] = await Promise.all([run(clipL), run(clipL), run(clipG)]);
  assert.deepEqual(first, second);
  assert.equal(other!.length, 192);
  assertClose(first!, g.floats("text_embeds_1").data.subarray(0, 128), tolerance.module);
  await clipL!.dispose();
  await clipG!.dispose();
});

/** Peak of the arena while every network runs once. */
async function arenaPeak(on: Gpu, components: Partial<Components>): Promise<number> {
  const { clipL, clipG, t5, transformer, decoder, encoder } = components;
  const tensor = (...shape: number[]) => on.createTensor(shape, "end", "other");
  const before = on.ledger.bytes("arena");
  on.ledger.resetPeak();
  for (const clip of [clipL!, clipG!]) {
    const out = {
      hidden: tensor(1, 24, clip.hiddenSize),
      pooled: tensor(1, clip.projectionDim),
    };
    await clip.embed(new Int32Array(24).fill(7), out);
  }
  await t5!.embed(new Int32Array(100).fill(7), tensor(1, 100, t5!.hiddenSize));
  const step = await transformer!.step(shapeOf(24, 16, 1));
  const commands = await step.record({ before: () => {}, after: () => {}, write: () => {} });
  await commands.submit();
  await decoder!.decode(tensor(1, 16, 24, 16), tensor(1, 192, 128, 3));
  await encoder!.encode(tensor(1, 3, 64, 64), tensor(1, 32, 8, 8));
  for (const component of Object.values(components)) await component?.dispose();
  return on.ledger.peakOf("arena") - before;
}

Deno.test("memory planned without a device covers what a run takes", async () => {
  const networks = [
    "clipL",
    "clipG",
    "t5",
    "transformer",
    "decoder",
    "encoder",
  ] as const;
  const dry = dryGpu(gpu);
  const planned = await layOutOnnx(model, dry, networks);
  const plannedWeights = dry.ledger.bytes("weights");
  const plannedArena = await arenaPeak(dry, planned);
  assert.equal(dry.ledger.bytes("weights"), 0);

  const before = gpu.ledger.bytes("weights");
  const loaded = await loadOnnx(model, gpu, networks);
  const weights = gpu.ledger.bytes("weights") - before;
  const arena = await arenaPeak(gpu, loaded);
  assert.ok(
    weights <= plannedWeights && plannedWeights < 2 * weights,
    `${weights}/${plannedWeights}`,
  );
  assert.ok(arena <= plannedArena && plannedArena < 3 * arena, `${arena}/${plannedArena}`);
});
