/** Synthetic models have the tensors that the published ones have. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { createHash } from "node:crypto";
import { declareModel } from "../../src/backends/load.ts";
import { describeModel } from "../../src/models/mod.ts";
import {
  declaredTensors,
  repositoryNames,
  syntheticModel,
} from "../../src/models/sd3/synthetic.ts";
import { directorySource } from "../../src/weights/deno_source.ts";

const tokenizers = directorySource(
  fileURLToPath(new URL("../../fixtures/sd35-tiny", import.meta.url)),
);

interface Digest {
  readonly tensors: number;
  /** At two bytes a value. */
  readonly bytes: number;
  /** SHA-256 of the names, sorted, with a line feed between them. */
  readonly names: string;
}

/** From the published `*.safetensors.index.json` files. */
const published: Readonly<Record<string, Digest>> = {
  "stable-diffusion-3.5-large/text_encoder_3": {
    tensors: 219,
    bytes: 9_524_621_312,
    names: "5a7c6f12efcc61effdcd66f68c4e214d9401867a19c997884b6e68207bf44e78",
  },
  "stable-diffusion-3.5-large/transformer": {
    tensors: 1227,
    bytes: 16_292_561_536,
    names: "41768d7382cef810242880d74cafca9df744f9c2e296a7b3d20d74e78de3c0ab",
  },
};

/** Megabytes of the published f16 files, where no index lists their tensors. */
const megabytes: Readonly<Record<string, number>> = {
  "stable-diffusion-3.5-medium/text_encoder": 247,
  "stable-diffusion-3.5-medium/text_encoder_2": 1390,
  "stable-diffusion-3.5-medium/transformer": 4940,
  "stable-diffusion-3.5-medium/vae": 168,
};

function tensorsOf(place: string) {
  const [name, folder] = place.split("/") as [typeof repositoryNames[number], string];
  const tensors = declaredTensors(name).get(folder)!;
  const values = tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const names = tensors.map(({ key }) => key).sort().join("\n");
  return { tensors: tensors.length, bytes: 2 * values, names };
}

for (const [place, digest] of Object.entries(published)) {
  Deno.test(`${place} declares what the published index lists`, () => {
    const { names, ...rest } = tensorsOf(place);
    const hash = createHash("sha256").update(names).digest("hex");
    assert.deepEqual({ ...rest, names: hash }, digest);
  });
}

Deno.test("networks without an index have the published files' sizes", () => {
  for (const [place, size] of Object.entries(megabytes)) {
    const { bytes } = tensorsOf(place);
    assert.ok(Math.abs(bytes / 1e6 - size) < size / 400, `${place}: ${bytes} bytes`);
  }
});

for (const name of repositoryNames) {
  Deno.test(`${name} is described and checked like a model on disk`, async () => {
    const source = await syntheticModel(name, tokenizers);
    const model = await describeModel(source);
    assert.equal(model.info.maxSize, name.includes("3.5-medium") ? 6144 : 3072);
    assert.equal(model.info.defaults.height, 1024);
    assert.equal(model.tokenizers.clipL.modelMaxLength, 77);
    assert.equal(model.info.maxSequenceLength, 512);
    // Throws at anything missing, extra or misshapen.
    const { parts } = await declareModel(model);
    assert.equal(parts.length, 5);
  });
}
