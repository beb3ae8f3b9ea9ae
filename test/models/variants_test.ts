/** Published models are recognised by their configs, and what was made from them is not. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { describeModel } from "../../src/models/mod.ts";
import { type RepositoryName, syntheticModel } from "../../src/models/sd3/synthetic.ts";
import { directorySource } from "../../src/weights/deno_source.ts";
import type { FileSource } from "../../src/weights/source.ts";

const tiny = directorySource(fileURLToPath(new URL("../../fixtures/sd35-tiny", import.meta.url)));

/** The model's info where one of its config files says something else. */
async function infoOf(name: RepositoryName, path?: string, changes?: object, called?: string) {
  const model = await syntheticModel(name, tiny);
  const source: FileSource = {
    ...model,
    name: called ?? `models/${name}/`,
    text: async (file) => {
      const text = await model.text(file);
      return file === path ? JSON.stringify({ ...JSON.parse(text), ...changes }) : text;
    },
  };
  return (await describeModel(source)).info;
}

const cards = {
  "stable-diffusion-3-medium": ["SD3-medium", 28, 7],
  "stable-diffusion-3.5-medium": ["SD3.5-medium", 40, 4.5],
  "stable-diffusion-3.5-large": ["SD3.5-large", 28, 3.5],
  "stable-diffusion-3.5-large-turbo": ["SD3.5-large-turbo", 4, 0],
} as const;

for (const [name, [variant, steps, guidance]] of Object.entries(cards)) {
  Deno.test(`${name} has the defaults of its card`, async () => {
    const info = await infoOf(name as RepositoryName);
    const { numInferenceSteps, guidanceScale, height, width, maxSequenceLength } = info.defaults;
    assert.equal(info.variant, variant);
    assert.deepEqual([numInferenceSteps, guidanceScale], [steps, guidance]);
    assert.deepEqual([height, width, maxSequenceLength], [1024, 1024, 256]);
    const skip = {
      skipGuidanceLayers: [7, 8, 9],
      skipLayerGuidanceScale: 2.8,
      skipLayerGuidanceStart: 0.01,
      skipLayerGuidanceStop: 0.2,
    };
    assert.deepEqual(info.recommended, variant === "SD3.5-medium" ? skip : undefined);
  });
}

Deno.test("a download cache names a model by its repository, not by the revision's folder", async () => {
  const cached = "/cache/models--stabilityai--stable-diffusion-3.5-large-turbo/snapshots/ec07796f";
  const info = await infoOf("stable-diffusion-3.5-large", undefined, {}, cached);
  assert.equal(info.name, "stable-diffusion-3.5-large-turbo");
  assert.equal(info.variant, "SD3.5-large-turbo");
  const elsewhere = await infoOf("stable-diffusion-3.5-large", undefined, {}, "/turbo/large");
  assert.equal(elsewhere.variant, "SD3.5-large");
});

Deno.test("a model that is none of the published ones has the pipeline's defaults", async () => {
  const unknown = [
    infoOf("stable-diffusion-3.5-large", "transformer/config.json", { num_layers: 37 }),
    infoOf("stable-diffusion-3.5-large", "scheduler/scheduler_config.json", { shift: 5 }),
    infoOf("stable-diffusion-3.5-medium", undefined, {}, "stable-diffusion-3.5-medium-turbo"),
    describeModel(tiny).then(({ info }) => info),
  ];
  for (const { variant, defaults, recommended } of await Promise.all(unknown)) {
    assert.equal(variant, undefined);
    assert.deepEqual([defaults.numInferenceSteps, defaults.guidanceScale], [28, 7]);
    assert.equal(recommended, undefined);
  }
});
