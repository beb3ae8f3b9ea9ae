/** Directories that are no usable model: every problem is named, all in one error, before any GPU work. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { dryGpu } from "../../src/gpu/dry_device.ts";
import { ConfigError } from "../../src/models/errors.ts";
import { loadModel } from "../../src/backends/load.ts";
import { describeModel } from "../../src/models/mod.ts";
import { directorySource } from "../../src/weights/deno_source.ts";
import { WeightsError } from "../../src/weights/errors.ts";
import { safetensors } from "../weights/make.ts";
import { makeNetwork } from "./make_network.ts";
import { makeModel, type ModelOptions } from "./make_model.ts";
import { clipShapes, type Shapes, transformerShapes, vaeShapes } from "./shapes.ts";

/** The error of reading a model after `damage`, and its message without the folder's name. */
async function failure(
  damage: (path: string) => Promise<unknown>,
  options: ModelOptions = {},
): Promise<Error> {
  const model = await makeModel(options);
  const source = directorySource(model.path);
  try {
    await damage(model.path);
    await loadModel(await describeModel(source), dryGpu(), { onDemand: ["encoder"] });
  } catch (error) {
    return error as Error;
  } finally {
    source.close();
    await model.remove();
  }
  assert.fail("the model was accepted");
}

type Json = Record<string, unknown>;

/** Changes fields of a JSON file of the model. */
const edit = (file: string, changes: Json) => async (path: string) => {
  const json = JSON.parse(await Deno.readTextFile(`${path}/${file}`)) as Json;
  await Deno.writeTextFile(`${path}/${file}`, JSON.stringify({ ...json, ...changes }));
};

const all = (...changes: ((path: string) => Promise<unknown>)[]) => async (path: string) => {
  for (const change of changes) await change(path);
};

const remove = (file: string) => (path: string) => Deno.remove(`${path}/${file}`);
const write = (file: string, text: string) => (path: string) =>
  Deno.writeTextFile(`${path}/${file}`, text);

function assertLines(error: Error, ...lines: readonly (string | RegExp)[]): void {
  for (const line of lines) {
    const has = typeof line === "string" ? error.message.includes(line) : line.test(error.message);
    assert.ok(has, `${line} is not in: ${error.message}`);
  }
}

Deno.test("a folder that is no model, and an empty one", async () => {
  const error = await failure(remove("model_index.json"));
  assert.ok(error instanceof ConfigError);
  assertLines(error, "no model_index.json", "parts of a model (scheduler, text_encoder");
  const absent = await failure(async (path) => {
    await Deno.remove(path, { recursive: true });
    await Deno.mkdir(path);
  });
  assertLines(absent, "is an empty folder", "diffusers layout");
});

Deno.test("a model of another pipeline, or of other networks", async () => {
  const other = await failure(edit("model_index.json", { _class_name: "FluxPipeline" }));
  assertLines(other, "StableDiffusion3Pipeline", "FluxPipeline");
  const classes = await failure(edit("model_index.json", {
    transformer: ["diffusers", "FluxTransformer2DModel"],
    vae: ["diffusers", "AutoencoderKLWan"],
    tokenizer_2: [null, null],
  }));
  assert.ok(classes instanceof ConfigError);
  assertLines(
    classes,
    "transformer is FluxTransformer2DModel, wanted SD3Transformer2DModel",
    "vae is AutoencoderKLWan, wanted AutoencoderKL",
    "tokenizer_2 is absent",
  );
});

Deno.test("every config value that cannot be honoured, by file and field", async () => {
  const error = await failure(all(
    edit("transformer/config.json", { qk_norm: "layer_norm", patch_size: 0 }),
    edit("vae/config.json", { act_fn: "relu", norm_num_groups: 7 }),
    edit("text_encoder/config.json", { hidden_act: "swish" }),
    edit("text_encoder_2/config.json", { hidden_size: 30 }),
    edit("text_encoder_3/config.json", {
      feed_forward_proj: "relu",
      relative_attention_num_buckets: 2,
    }),
    edit("scheduler/scheduler_config.json", { solver_order: 2 }),
  ));
  assert.ok(error instanceof ConfigError);
  assertLines(
    error,
    /transformer\/config\.json[^]*patch_size[^]*qk_norm.*"layer_norm"/,
    /vae\/config\.json[^]*act_fn.*"relu"/,
    /text_encoder\/config\.json[^]*hidden_act.*"swish"/,
    /text_encoder_2\/config\.json[^]*hidden_size.*multiple of 4.*30/,
    /text_encoder_3\/config\.json[^]*num_buckets[^]*feed_forward_proj.*"relu"/,
    /scheduler_config\.json[^]*solver_order/,
  );
  const groups = await failure(edit("vae/config.json", { norm_num_groups: 7 }));
  assertLines(groups, "block_out_channels must be multiples of norm_num_groups");
});

Deno.test("files that are absent or no JSON, all of them", async () => {
  const error = await failure(all(
    remove("tokenizer/merges.txt"),
    remove("vae/config.json"),
    write("tokenizer_2/vocab.json", "{"),
    write("tokenizer_3/tokenizer.json", "{}"),
    write("text_encoder/config.json", "[]"),
    write("scheduler/scheduler_config.json", '{"_class_name": "DDIMScheduler"}'),
  ));
  assert.ok(error instanceof ConfigError);
  assertLines(
    error,
    "vae/config.json is absent",
    "tokenizer/merges.txt is absent",
    "tokenizer_2/vocab.json is not JSON",
    "tokenizer_3 cannot be used",
    "text_encoder/config.json cannot be used",
    "DDIMScheduler",
  );
});

Deno.test("networks that do not fit each other", async () => {
  const error = await failure(() => Promise.resolve(), {
    clipL: { vocab_size: 500, max_position_embeddings: 20 },
    t5: { d_model: 64 },
    transformer: { joint_attention_dim: 60, pooled_projection_dim: 9, in_channels: 4 },
  });
  assert.ok(error instanceof ConfigError);
  assertLines(
    error,
    "text_encoder has vocab_size 500, but its tokenizer gives ids up to 2047",
    "text_encoder has 20 positions for 24 tokens",
    "d_model is 64, wanted 60",
    "pooled_projection_dim is 9, wanted 44",
    "latent_channels is 16, wanted 4",
    "out_channels is 16, wanted 4",
    "exceed joint_attention_dim",
  );
});

Deno.test("damaged and missing weight files of several networks", async () => {
  const error = await failure(
    all(
      (path) =>
        Deno.truncate(`${path}/vae/diffusion_pytorch_model-00002-of-00002.safetensors`, 9000),
      remove("transformer/diffusion_pytorch_model-00001-of-00002.safetensors"),
      remove("text_encoder/model.safetensors.index.json"),
      write("text_encoder_2/model.safetensors.index.json", '{"weight_map": {'),
    ),
    { storage: { shards: 2 } },
  );
  assert.ok(error instanceof WeightsError);
  assertLines(
    error,
    /vae\/.*00002-of-00002\.safetensors.*short/,
    /transformer\/.*00001-of-00002\.safetensors.*absent/,
    /has no file text_encoder\//,
    /text_encoder_2\/model\.safetensors\.index\.json: is not valid JSON/,
  );
});

Deno.test("missing, extra and misshapen tensors of several networks", async () => {
  const rewrite =
    (folder: string, stem: string, shapes: (configs: Shapes) => void, made: Shapes) =>
    async (path: string) => {
      shapes(made);
      const { files } = makeNetwork(made, { stem: stem as "model" });
      await Deno.writeFile(
        `${path}/${folder}/${stem}.safetensors`,
        files[`${stem}.safetensors`] as Uint8Array,
      );
    };
  const model = await makeModel();
  const { clipL, transformer, vae } = model.configs;
  await model.remove();
  const error = await failure(all(
    rewrite("text_encoder", "model", (shapes) => {
      shapes.delete("text_projection.weight");
      shapes.set("text_model.encoder.layers.0.mlp.fc1.weight", [96, 41]);
    }, clipShapes(clipL)),
    rewrite("transformer", "diffusion_pytorch_model", (shapes) => {
      shapes.delete("transformer_blocks.1.attn.to_k.bias");
      shapes.set("transformer_blocks.0.attn2.to_q.weight", [128, 128]);
    }, transformerShapes(transformer)),
    rewrite("vae", "diffusion_pytorch_model", (shapes) => {
      shapes.set("decoder.conv_in.weight", [48, 16, 1, 1]);
      shapes.delete("encoder.conv_out.bias");
      shapes.set("surprise", [3]);
    }, vaeShapes(vae)),
  ));
  assert.ok(error instanceof WeightsError);
  assertLines(
    error,
    "missing (3)",
    "text_encoder: text_projection.weight [24,40]",
    "transformer: transformer_blocks.1.attn.to_k.bias [128]",
    "vae: encoder.conv_out.bias [32]",
    "not part of this model (2)",
    "transformer: transformer_blocks.0.attn2.to_q.weight [128,128]",
    "vae: surprise [3]",
    "of another shape (2)",
    "text_encoder: text_model.encoder.layers.0.mlp.fc1.weight is [96,41], wanted [96,40]",
    "vae: decoder.conv_in.weight is [48,16,1,1], wanted [48,16,3,3]",
  );
});

Deno.test("weights that are integers", async () => {
  const error = await failure(async (path) => {
    const made = await makeModel();
    const shapes = clipShapes(made.configs.clipL);
    await made.remove();
    const tensors = [...shapes].map(([name, shape]) => ({ name, shape, dtype: "I32" as const }));
    await Deno.writeFile(`${path}/text_encoder/model.safetensors`, safetensors(tensors));
  });
  assert.ok(error instanceof WeightsError);
  assertLines(error, "of a type that cannot be used", "text_projection.weight is I32");
});

Deno.test("the command line says so without a stack, and fails", async () => {
  const model = await makeModel();
  try {
    await edit("transformer/config.json", { qk_norm: "layer_norm" })(model.path);
    const cli = fileURLToPath(new URL("../../cli.ts", import.meta.url));
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", cli, "generate", "a", "--dry-run", "--model", model.path],
    }).output();
    const message = new TextDecoder().decode(stderr);
    assert.equal(code, 1);
    assert.match(message, /qk_norm/);
    assert.doesNotMatch(message, /^ +at /m);
  } finally {
    await model.remove();
  }
});
