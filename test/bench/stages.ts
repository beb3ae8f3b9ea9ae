/** The fixture on one engine: its stages alone, and a whole image. */
import type { Gpu } from "../../src/gpu/device.ts";
import { encodePng } from "../../src/image/png.ts";
import { packSteps } from "../../src/ops/guided_step.ts";
import type { Components } from "../../src/models/sd3/components.ts";
import type { ModelDescription } from "../../src/models/sd3/describe.ts";
import { tokenize } from "../../src/models/sd3/tokenize.ts";
import { StableDiffusion3Pipeline } from "../../src/pipeline/stable_diffusion_3.ts";
import type { Contender } from "./race.ts";

export const imageSize = 128;
export const imageSteps = 20;
const guidanceScale = 4;

export interface Stages {
  /** One prompt through the three encoders and the transformer's projection. */
  readonly encode: Contender;
  /** One step of one image with guidance: two rows of prediction, guidance, the scheduler's step. */
  readonly step: Contender;
  /** Latents to pixels on the device. */
  readonly decode: Contender;
  /** Prompt and negative prompt to PNG, nothing cached. */
  readonly image: Contender;
}

export function stagesOf(
  name: string,
  gpu: Gpu,
  model: ModelDescription,
  components: Components,
): Stages {
  const pipeline = new StableDiffusion3Pipeline(gpu, model, components);
  const { maxSequenceLength } = model.info.defaults;
  const shape = pipeline.latentShape(imageSize, imageSize);
  const latents = gpu.createTensor(shape, "latents", "other");
  const pixels = gpu.createTensor([1, imageSize, imageSize, 3], "pixels", "other");
  let prompts = 0;
  const repeated = (work: () => Promise<void>): Contender => ({
    name,
    async run(count) {
      for (let i = 0; i < count; i++) await work();
      await gpu.idle();
    },
  });
  return {
    encode: repeated(async () => {
      const prompt = "a red circle on a blue background";
      const { tokens } = await tokenize(
        model.tokenizers,
        [prompt, prompt, prompt],
        maxSequenceLength,
      );
      const { context, pooled } = await pipeline.prepareText(tokens, maxSequenceLength);
      gpu.destroyTensor(context, pooled);
    }),
    step: repeated(async () => {
      const step = await components.transformer.step({
        height: shape[2],
        width: shape[3],
        contextLength: pipeline.contextLength(maxSequenceLength),
        images: 1,
        rows: 2,
        skipRows: 0,
        skipLayers: [],
        combined: 0,
        slots: 0,
      });
      const { inputs, records } = step;
      const write = () => {
        for (const { storage: { buffer }, byteLength } of Object.values(inputs)) {
          gpu.queue.writeBuffer(buffer, 0, new Float32Array(byteLength / 4).fill(0.1));
        }
        gpu.write(
          records,
          packSteps([{
            conditional: 0,
            unconditional: 1,
            guidance: guidanceScale,
            skipScale: 0,
            sample: 1,
            velocity: -0.05,
          }]),
        );
      };
      const commands = await step.record({ before: () => {}, after: () => {}, write });
      await commands.submit();
    }),
    decode: repeated(() => components.decoder.decode(latents, pixels)),
    image: repeated(async () => {
      prompts++;
      const { images } = await pipeline.generate({
        prompt: `a red circle, number ${prompts}`,
        negativePrompt: `blurry, number ${prompts}`,
        height: imageSize,
        width: imageSize,
        numInferenceSteps: imageSteps,
        guidanceScale,
        seed: 7,
      });
      encodePng(images[0]!);
    }),
  };
}
