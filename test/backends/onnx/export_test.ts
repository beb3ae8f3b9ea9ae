/** Exported graphs of the small model against diffusers' golden vectors, on the CPU provider. */
import assert from "node:assert/strict";
import { exportOnnx, type ExportOptions } from "../../../src/backends/onnx/export/mod.ts";
import { summariseModel } from "../../../src/backends/onnx/proto.ts";
import { directorySource } from "../../../src/weights/deno_source.ts";
import { nmse, tolerance } from "../../tolerance.ts";
import { golden, tinyModel } from "./golden.ts";
import { cpuSession, type Files, infer, memorySink } from "./memory_sink.ts";

async function exported(options: ExportOptions = {}): Promise<Files> {
  const files: Files = new Map();
  const source = directorySource(tinyModel);
  try {
    await exportOnnx(source, memorySink(files), options);
  } finally {
    source.close();
  }
  return files;
}

function assertNear(actual: ArrayLike<number>, expected: ArrayLike<number>, what: string) {
  const error = nmse(actual, expected);
  assert.ok(error <= tolerance.module, `${what}: NMSE ${error}`);
}

const variants: readonly [string, ExportOptions][] = [
  ["float32", {}],
  ["float16 products", { dtype: "f16" }],
  ["external data", { externalAbove: 0, externalFileBytes: 2_000_000 }],
];

for (const [variant, options] of variants) {
  Deno.test(`exported graphs reproduce the golden vectors: ${variant}`, async (t) => {
    const files = await exported(options);

    await t.step("transformer", async () => {
      const session = await cpuSession(files, "transformer");
      for (const name of ["128x128_b1", "128x128_b2", "96x160_b1", "96x160_b2"]) {
        const g = await golden(`transformer_${name}`);
        const { out_hidden_states } = await infer(session, {
          hidden_states: g.floats("latents"),
          encoder_hidden_states: g.floats("prompt_embeds"),
          pooled_projections: g.floats("pooled_prompt_embeds"),
          timestep: g.floats("timestep"),
        });
        assertNear(out_hidden_states!, g.floats("sample").data, name);
      }
      await session.release();
    });

    await t.step("VAE decoder", async () => {
      const session = await cpuSession(files, "vae_decoder");
      for (const name of ["vae_128x128", "vae_64x96"]) {
        const g = await golden(name);
        const { sample } = await infer(session, { latent_sample: g.floats("decoder_input") });
        assertNear(sample!, g.floats("decoded").data, name);
      }
      await session.release();
    });

    await t.step("VAE encoder", async () => {
      const session = await cpuSession(files, "vae_encoder");
      for (const name of ["vae_128x128", "vae_64x96"]) {
        const g = await golden(name);
        const { latent_parameters } = await infer(session, { sample: g.floats("encoder_input") });
        const moments = latent_parameters!;
        const half = moments.length / 2;
        assertNear(moments.subarray(0, half), g.floats("encoded_mean").data, `${name} mean`);
        // the vectors hold the log variance clamped as the posterior clamps it
        const logvar = moments.subarray(half).map((v) => Math.min(20, Math.max(-30, v)));
        assertNear(logvar, g.floats("encoded_logvar").data, `${name} logvar`);
      }
      await session.release();
    });

    for (const [i, folder, layers] of [[1, "text_encoder", 2], [2, "text_encoder_2", 3]] as const) {
      await t.step(`CLIP in ${folder}`, async () => {
        const g = await golden("text");
        const session = await cpuSession(files, folder);
        const out = await infer(session, { input_ids: g.ids(`ids_${i}`) });
        assertNear(out.text_embeds!, g.floats(`text_embeds_${i}`).data, "text_embeds");
        const last = g.floats(`last_hidden_state_${i}`).data;
        assertNear(out.last_hidden_state!, last, "last_hidden_state");
        for (let j = 0; j <= layers; j++) {
          const state = g.floats(`hidden_state_${i}_${j}`).data;
          assertNear(out[`hidden_states.${j}`]!, state, `hidden_states.${j}`);
        }
        await session.release();
      });
    }

    await t.step("T5", async () => {
      const g = await golden("text");
      const session = await cpuSession(files, "text_encoder_3");
      const { last_hidden_state } = await infer(session, { input_ids: g.ids("ids_3") });
      assertNear(last_hidden_state!, g.floats("last_hidden_state_3").data, "last_hidden_state");
      await session.release();
    });
  });
}

Deno.test("an exported folder is a model by itself, in Optimum's layout", async () => {
  const files = await exported();
  for (
    const path of [
      "model_index.json",
      "scheduler/scheduler_config.json",
      "tokenizer/vocab.json",
      "tokenizer_2/merges.txt",
      "tokenizer_3/tokenizer.json",
      "transformer/model.onnx",
      "transformer/config.json",
      "vae_decoder/model.onnx",
      "vae_decoder/config.json",
      "vae_encoder/model.onnx",
      "text_encoder_3/config.json",
    ]
  ) assert.ok(files.has(path), path);
  assert.deepEqual(
    files.get("vae_encoder/config.json"),
    Deno.readFileSync(`${tinyModel}/vae/config.json`),
  );
});

Deno.test("weights stay float16 in the file, vectors are float32", async () => {
  const files = await exported({ only: ["transformer"], copyRest: false });
  assert.deepEqual([...files.keys()].sort(), ["transformer/config.json", "transformer/model.onnx"]);
  const stored = Deno.statSync(`${tinyModel}/transformer/diffusion_pytorch_model.safetensors`).size;
  assert.ok(files.get("transformer/model.onnx")!.length < 1.05 * stored);
  const { initializers } = summariseModel(files.get("transformer/model.onnx")!);
  const types = new Map(initializers.map(({ name, dataType }) => [name, dataType]));
  assert.equal(types.get("proj_out.weight.transposed_f16"), 10);
  assert.equal(types.get("proj_out.bias"), 1);
});

Deno.test("external files keep to their bound and to page offsets", async () => {
  const files = await exported({
    only: ["transformer"],
    externalAbove: 0,
    externalFileBytes: 2_000_000,
  });
  const data = [...files].filter(([path]) => path.includes("onnx_data"));
  assert.ok(data.length > 5, `${data.length} files`);
  for (const [path, bytes] of data) assert.ok(bytes.length <= 2_000_000, path);
  assert.ok(files.get("transformer/model.onnx")!.length < 500_000);
  const { initializers } = summariseModel(files.get("transformer/model.onnx")!);
  const locations = new Set(initializers.map(({ location }) => location));
  for (const [path] of data) assert.ok(locations.has(path.replace("transformer/", "")), path);
});

Deno.test("progress reaches the announced size, and an abort stops the export", async () => {
  let last: [number, number] = [0, 1];
  await exported({ only: ["vae_decoder"], onProgress: (_, done, total) => last = [done, total] });
  assert.equal(last[0], last[1]);
  const controller = new AbortController();
  await assert.rejects(
    exported({ signal: controller.signal, onProgress: () => controller.abort() }),
    { name: "AbortError" },
  );
});
