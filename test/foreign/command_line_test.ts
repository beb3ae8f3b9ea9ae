/**
 * Models of the three families that the repository does not hold, through the command line: the PNG
 * must be the f64 reference's image.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { Buffer } from "node:buffer";
import { PNG } from "pngjs";
import type { FamilyChoice } from "../../src/gpu/adapter.ts";
import { describeModel } from "../../src/models/mod.ts";
import { tokenize } from "../../src/models/sd3/tokenize.ts";
import { TorchCpuGenerator } from "../../src/random/torch_cpu.ts";
import { directorySource } from "../../src/weights/deno_source.ts";
import { chosen } from "../chosen_kernels.ts";
import { psnr, tolerance } from "../tolerance.ts";
import { heads, levels } from "./configs.ts";
import { makeModel, type ModelOptions } from "./make_model.ts";
import { referenceImage } from "./reference_pipeline.ts";

const cli = fileURLToPath(new URL("../../cli.ts", import.meta.url));
const prompt = "a yellow star! (on a blue background)";
const negative = "red";

interface Case {
  readonly model: ModelOptions;
  /** Pixels. */
  readonly size: readonly [number, number];
  readonly guidanceScale: number;
  /** Worked out by hand from the config: what the scheduler must have made of 3 steps. */
  readonly sigmas: readonly number[];
  /** Whether kernels are chosen by timing them. */
  readonly tune: boolean;
  readonly kernels: readonly FamilyChoice[];
}

/** The double shift of a constant shift of 3: sigma_min is shifted before and after. */
const shifted = [1, 0.7511211, 0.0089286, 0];

const cases: Record<string, Case> = {
  "SD3 medium's family, f16": {
    model: {
      transformer: { num_layers: 3, qk_norm: null },
      storage: { dtype: "F16" },
    },
    size: [24, 40],
    guidanceScale: 5,
    sigmas: shifted,
    tune: true,
    kernels: ["auto"],
  },
  "SD3.5 large's family without T5, sharded bf16": {
    model: {
      t5: null,
      transformer: { ...heads(3, 40), num_layers: 2, qk_norm: "rms_norm" },
      vae: levels([16, 24], { latent_channels: 8 }),
      storage: { dtype: "BF16", shards: 2 },
    },
    size: [28, 20],
    guidanceScale: 3,
    sigmas: shifted,
    tune: false,
    kernels: ["auto", "gpu"],
  },
  "SD3.5 medium's family, f32, with a shift that follows the image's size": {
    model: {
      clipL: { num_hidden_layers: 1 },
      transformer: {
        ...heads(2, 32),
        num_layers: 3,
        qk_norm: "rms_norm",
        dual_attention_layers: [0, 1],
        joint_attention_dim: 100,
        pos_embed_max_size: 11,
      },
      vae: levels([12, 20, 28, 28], { norm_num_groups: 4, layers_per_block: 2 }),
      scheduler: {
        use_dynamic_shifting: true,
        shift: 1,
        base_image_seq_len: 4,
        max_image_seq_len: 16,
        base_shift: 0.5,
        max_shift: 1.5,
      },
    },
    size: [48, 32],
    guidanceScale: 1,
    // 6 patches: mu = 0.5 + 2 / 12; sigmas 1, 0.5005, 0.001 through e^mu / (e^mu + 1 / sigma - 1).
    sigmas: [1, 0.6612045, 0.0019459, 0],
    tune: false,
    kernels: ["auto"],
  },
};

const runs = Object.entries(cases).flatMap(([name, test]) =>
  (chosen.kernels === "auto" ? test.kernels : [chosen.kernels])
    // Kernels for GPUs compile for longer on a software adapter than the tuner has.
    .map((kernels) => ({ ...test, name, kernels, tune: test.tune && kernels === "auto" }))
);

for (const { name, kernels, model: options, size, guidanceScale, sigmas, tune } of runs) {
  Deno.test(`command line: ${name}, kernels ${kernels}`, async () => {
    const [height, width] = size;
    const model = await makeModel(options);
    try {
      const output = `${model.path}/image.png`;
      const tuningFile = `${model.path}/tuning.json`;
      const { success, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "-A", cli, "generate", prompt],
          ...["--model", model.path, "--negative-prompt", negative, "--output", output],
          ...["--kernels", kernels],
          ...["--num-inference-steps", "3", "--seed", "77"],
          ...["--guidance-scale", `${guidanceScale}`],
          ...["--height", `${height}`, "--width", `${width}`],
        ],
        env: { TUNING_FILE: tuningFile, ...!tune && { NO_TUNE: "1" } },
        stdout: "null",
        stderr: "piped",
      }).output();
      assert.ok(success, new TextDecoder().decode(stderr));
      assert.equal([...Deno.readDirSync(model.path)].some((e) => e.name === "tuning.json"), tune);

      const source = directorySource(model.path);
      const { tokenizers, info } = await describeModel(source);
      source.close();
      const ids = async (text: string) =>
        (await tokenize(tokenizers, [text, text, text], info.defaults.maxSequenceLength)).tokens;
      const scale = 2 ** (model.configs.vae.block_out_channels.length - 1);
      const latents = { height: height / scale, width: width / scale };
      const count = model.configs.vae.latent_channels * latents.height * latents.width;
      const expected = referenceImage(model, {
        ids: await ids(prompt),
        negativeIds: await ids(negative),
        guidanceScale,
        sigmas,
        noise: new TorchCpuGenerator(77).randn(count),
        ...latents,
      });
      const png = PNG.sync.read(Buffer.from(await Deno.readFile(output)));
      assert.deepEqual([png.height, png.width], [height, width]);
      const found = expected.map((_, i) => png.data[4 * Math.floor(i / 3) + i % 3]!);
      const decibels = psnr(found, expected);
      assert.ok(decibels >= tolerance.imagePsnr, `${decibels.toFixed(1)} dB`);
      assert.ok(new Set(expected).size > 50, "the image is not flat");
    } finally {
      await model.remove();
    }
  });
}
