/** What is no model is told by its kind, in one message that says what to do, before a byte is loaded. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { openEngine } from "../../src/engine/engine.ts";
import { ConfigError } from "../../src/models/errors.ts";
import { describeModel } from "../../src/models/mod.ts";
import { directorySource } from "../../src/weights/deno_source.ts";
import { WeightsError } from "../../src/weights/errors.ts";
import { openCheckpoint } from "../../src/weights/layouts/mod.ts";
import { recognise, recogniseStart } from "../../src/weights/recognise.ts";
import { safetensors, source } from "./make.ts";

type Content = Uint8Array<ArrayBuffer> | string;
type Files = Readonly<Record<string, Content>>;

const pointer = "version https://git-lfs.github.com/spec/v1\n" +
  "oid sha256:8f53304a79335b55e13ec50f63e5157fee4deb2f30d5fae0654e2b2653c109dc\nsize 4939\n";
const page = "\n<!DOCTYPE html>\n<html><body>You must sign in</body></html>";
const bytes = (...values: (string | number)[]) =>
  Uint8Array.from(
    values.flatMap((v) => typeof v === "number" ? [v] : [...new TextEncoder().encode(v)]),
  );
const gguf = bytes("GGUF", 3, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0);
const zip = bytes("PK", 3, 4, 0, 0, 8, 8, "archive/data.pkl");
const pickle = bytes(0x80, 2, 0x8a, 10, "l", 0xfc, 0x9c, "F", 0xf9, " j", 0xa8, "P", 0x19, ".");
/** A valid file of tensors with these names. */
const tensors = (...names: string[]) =>
  safetensors(names.map((name) => ({ name, dtype: "F32", shape: [2] })));
const transformerKeys = ["pos_embed.proj.weight", "transformer_blocks.0.attn.to_q.weight"];
const config = (name: string) => JSON.stringify({ _class_name: name });

/** What is given as the model: files, the path among them (default: their folder), and the message. */
interface Case {
  readonly files: Files;
  readonly path?: string;
  readonly says: readonly RegExp[];
}

const getFolder = /download .*diffusers layout.*give its path/;

/** One file given as it is, and the same alone in a folder. */
const single = (file: string, content: Content, ...says: RegExp[]): Case[] => [
  { files: { [file]: content }, path: file, says: [new RegExp(`^[^:]*/${file} is `), ...says] },
  { files: { [file]: content, "README.md": "#" }, says: [new RegExp(`/m/${file} is `), ...says] },
];

const cases: Readonly<Record<string, readonly Case[]>> = {
  "a single-file checkpoint": [
    ...single(
      "sd3.safetensors",
      tensors(
        "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight",
        "first_stage_model.a",
      ),
      /single-file checkpoint of Stable Diffusion 3/,
      getFolder,
    ),
    ...single(
      "v1-5.safetensors",
      tensors("model.diffusion_model.input_blocks.0.0.weight"),
      /single-file checkpoint of Stable Diffusion 1, 2 or XL/,
    ),
  ],
  "one network's weights": [
    ...single(
      "mmdit.safetensors",
      tensors("joint_blocks.0.x_block.attn.qkv.weight"),
      /transformer/,
    ),
    ...single("diffusion_pytorch_model.safetensors", tensors(...transformerKeys), /transformer/),
    ...single("vae.safetensors", tensors("decoder.conv_in.weight"), /autoencoder/),
    ...single("clip_l.safetensors", tensors("text_model.encoder.layers.0.a"), /CLIP/),
    ...single("t5xxl.safetensors", tensors("encoder.block.0.layer.0.a", "shared.weight"), /T5/),
    ...single("flux.safetensors", tensors("double_blocks.0.img_attn.qkv.weight"), /Flux/),
    ...single("canny.safetensors", tensors("controlnet_blocks.0.weight"), /ControlNet/),
  ],
  "tensors of names that say nothing": single("x.safetensors", tensors("a.b"), /"a\.b"/, getFolder),
  "a LoRA": [
    "transformer.transformer_blocks.0.attn.to_k.lora_A.weight",
    "lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight",
    "transformer_blocks.0.attn.to_q.lora.up.weight",
    "lycoris_transformer_blocks_0.lokr_w1",
    "lycoris_transformer_blocks_0.hada_w1_a",
  ].flatMap((name) => single("style.safetensors", tensors(name), /LoRA/, /give .* model/)),
  "GGUF": single("sd3.5-Q4_0.gguf", gguf, /GGUF/, getFolder),
  "GGUF under another name": single("sd3.safetensors", gguf, /GGUF/),
  "a git-lfs pointer": single("sd3.safetensors", pointer, /git-lfs pointer/, /git lfs pull/),
  "a page": single("sd3.safetensors", page, /web page/, /again/),
  "a pickle": [
    ...single("v1-5.ckpt", zip, /pickle/, getFolder),
    ...single("model.pt", pickle, /pickle/),
  ],
  "a graph": single("model.onnx", bytes(8, 7, 18, 7, "pytorch"), /ONNX graph/),
  "a file that ends early": [
    ...single(
      "a.safetensors",
      tensors(...transformerKeys).slice(0, -3),
      /damaged.*cut short/,
      /again/,
    ),
    ...single("a.safetensors", tensors(...transformerKeys).slice(0, 60), /damaged.*cut short/),
  ],
  "an empty file": single("a.safetensors", "", /empty file/, /again/),
  "a file of no known kind": [
    {
      files: { "cat.png": bytes(0x89, "PNG\r\n") },
      path: "cat.png",
      says: [/cat\.png is a file/, getFolder],
    },
  ],
  "a model's own index": [
    {
      files: { "model_index.json": config("StableDiffusion3Pipeline"), "vae/config.json": "{}" },
      path: "model_index.json",
      says: [/model_index\.json is one file of a model.* folder that holds/],
    },
    { files: { "config.json": config("AutoencoderKL") }, path: "config.json", says: [/one file/] },
  ],
  "a folder of graphs without configs": [
    {
      files: { "transformer/model.onnx": bytes(8), "vae_decoder/model.onnx": bytes(8) },
      says: [/ONNX graphs/, /model_index\.json/],
    },
  ],
  "one component's folder": [
    {
      files: {
        "config.json": config("SD3Transformer2DModel"),
        "diffusion_pytorch_model.safetensors": tensors(...transformerKeys),
      },
      says: [/one component.*SD3Transformer2DModel.*folder above/],
    },
    {
      files: { "config.json": '{"architectures": ["CLIPTextModelWithProjection"]}' },
      says: [/one component.*CLIPTextModelWithProjection/],
    },
    {
      files: { "scheduler_config.json": config("FlowMatchEulerDiscreteScheduler") },
      says: [/one component/],
    },
    { files: { "config.json": pointer, "a.safetensors": pointer }, says: [/git-lfs pointer/] },
  ],
  "a folder around models": [
    { files: { "snapshots/0a1/model_index.json": "{}" }, says: [/snapshots\/0a1/, /path of one/] },
    { files: { "a/model_index.json": "{}", "b/model_index.json": "{}" }, says: [/\ba, b\b/] },
  ],
  "a model without its index": [
    {
      files: { "transformer/config.json": "{}", "vae/config.json": "{}" },
      says: [/no model_index\.json/, /transformer, vae/],
    },
  ],
  "an empty folder": [{ files: {}, says: [/empty folder/, getFolder] }],
  "a folder of something else": [{
    files: { "notes.txt": "a" },
    says: [/no model_index\.json/, getFolder],
  }],
  "another family": [
    {
      files: { "model_index.json": config("FluxPipeline") },
      says: [/is a FluxPipeline/, /StableDiffusion3Pipeline/],
    },
  ],
  "an index that is no JSON": [
    {
      files: { "model_index.json": page, "vae/config.json": "{}" },
      says: [/model_index\.json is a web page/],
    },
    {
      files: { "model_index.json": pointer, "vae/config.json": "{}" },
      says: [/is a git-lfs pointer/],
    },
  ],
};

/** Works in a folder of its own with these files below `m/`. */
async function withFiles(files: Files, work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${folder}/m`);
    for (const [path, content] of Object.entries(files)) {
      await Deno.mkdir(`${folder}/m/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
      if (typeof content === "string") await Deno.writeTextFile(`${folder}/m/${path}`, content);
      else await Deno.writeFile(`${folder}/m/${path}`, content);
    }
    await work(`${folder}/m`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The message of opening what lies at a path, for the engine as for a description. */
async function refusal(path: string): Promise<string> {
  const model = directorySource(path);
  try {
    await openEngine(model);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    await assert.rejects(describeModel(model), { message: error.message });
    return error.message;
  } finally {
    model.close();
  }
  assert.fail("it was accepted");
}

for (const [name, list] of Object.entries(cases)) {
  Deno.test(`given as a model: ${name}`, async () => {
    for (const { files, path, says } of list) {
      await withFiles(files, async (folder) => {
        const message = await refusal(path === undefined ? folder : `${folder}/${path}`);
        for (const words of says) assert.match(message, words);
        assert.doesNotMatch(message, /\n/, "one line");
      });
    }
  });
}

Deno.test("given as a model: nothing that is there", async () => {
  const absent = await refusal("/nowhere/at/all");
  assert.match(absent, /^There is nothing at \/nowhere\/at\/all/);
  const id = "stabilityai/stable-diffusion-3.5-medium";
  const message = await refusal(id);
  assert.match(message, new RegExp(`^There is nothing at ${id}.* name on a hub.*not there yet`));
  assert.match(message, getFolder);
  assert.match(await refusal("https://example.org/sd3"), /address.*not there yet/);
  assert.match(await refusal(""), /path is empty/);
});

Deno.test("kinds are told apart from files of any source", async () => {
  const kindOf = async (files: Files) => await recognise(source({ ...files }));
  assert.deepEqual(await kindOf({ "model_index.json": "{}", "a.gguf": gguf }), { is: "diffusers" });
  assert.deepEqual(await kindOf({ "a.gguf": gguf }), {
    is: "file",
    path: "memory/a.gguf",
    kind: "gguf",
  });
  assert.deepEqual(await kindOf({}), { is: "empty folder" });
  assert.equal(recogniseStart("GGUF"), "gguf");
  assert.equal(recogniseStart('{"a": 1}'), undefined);
});

Deno.test("a folder of a model with weights of another kind: all are named, before any is read", async () => {
  const opened = (files: Files) => openCheckpoint(source({ ...files }), "vae");
  const stem = "vae/diffusion_pytorch_model";
  const wrong: readonly [Files, RegExp][] = [
    [{ [`${stem}.safetensors`]: pointer }, /git-lfs pointer.*git lfs pull/],
    [{ [`${stem}.safetensors`]: page }, /web page.*again/],
    [{ [`${stem}.safetensors`]: gguf }, /GGUF/],
    [{ [`${stem}.bin`]: zip }, /model\.bin is a pickle.*safetensors/],
    [{ [`${stem}.gguf`]: gguf }, /model\.gguf is a GGUF file/],
    [{ [`${stem}.safetensors.index.json`]: page }, /index\.json is a web page/],
  ];
  for (const [files, words] of wrong) {
    await assert.rejects(opened(files), (error) => {
      assert.ok(error instanceof WeightsError, String(error));
      assert.match(error.message, words);
      return true;
    });
  }
});

Deno.test("the command line says it in one message, without a stack, and fails", async () => {
  const cli = fileURLToPath(new URL("../../cli.ts", import.meta.url));
  await withFiles({ "sd3.gguf": gguf }, async (folder) => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", cli, "generate", "a", "--model", `${folder}/sd3.gguf`],
    }).output();
    const message = new TextDecoder().decode(stderr);
    assert.equal(code, 1);
    assert.match(message, /^\S+\/sd3\.gguf is a GGUF file[^\n]*\n$/);
    assert.equal(stdout.length, 0);
  });
});
