/** The f64 networks against diffusers' own numbers, before anything is judged by them. */
import { golden } from "../../golden/fixture.ts";
import { nmse } from "../../tolerance.ts";
import { readTensor } from "../../../src/weights/checkpoint.ts";
import { openCheckpoint } from "../../../src/weights/layouts/mod.ts";
import { directorySource } from "../../../src/weights/deno_source.ts";
import { toFloat } from "../../../src/weights/convert.ts";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { clipReference } from "./clip.ts";
import type { Weights } from "./layers.ts";
import { transformerReference } from "./mmdit.ts";
import { t5Reference } from "./t5.ts";
import { decodeReference, encodeReference } from "./vae.ts";

const directory = fileURLToPath(new URL("../../../fixtures/sd35-tiny", import.meta.url));

/** diffusers rounds to float32 at every operation, the references nowhere. */
const limit = 1e-10;

async function network(folder: string): Promise<Weights> {
  const source = directorySource(directory);
  const checkpoint = await openCheckpoint(source, folder);
  const tensors = new Map<string, Float32Array>();
  for (const [key, entry] of checkpoint.tensors) {
    tensors.set(key, toFloat(entry.type as "F16", await readTensor(checkpoint, entry)));
  }
  source.close();
  return (key) => {
    const found = tensors.get(key);
    if (!found) throw new Error(`${folder} has no ${key}`);
    return found;
  };
}

async function config(folder: string) {
  return JSON.parse(await Deno.readTextFile(`${directory}/${folder}/config.json`));
}

function close(actual: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  const error = nmse(actual, expected);
  assert.ok(error <= limit, `${what}: NMSE ${error.toExponential(2)}`);
}

for (const [folder, encoder] of [["text_encoder", 1], ["text_encoder_2", 2]] as const) {
  Deno.test(`the reference of ${folder} is that of transformers`, async () => {
    const vectors = await golden("text");
    const { hiddenStates, textEmbeds } = clipReference(
      await network(folder),
      await config(folder),
      vectors(`ids_${encoder}`).values.subarray(0, vectors(`ids_${encoder}`).shape[1]),
    );
    for (const [i, state] of hiddenStates.entries()) {
      const { values } = vectors(`hidden_state_${encoder}_${i}`);
      close(state, values.subarray(0, state.length), `hidden state ${i}`);
    }
    const pooled = vectors(`text_embeds_${encoder}`).values;
    close(textEmbeds, pooled.subarray(0, textEmbeds.length), "text_embeds");
  });
}

Deno.test("the reference of text_encoder_3 is that of transformers", async () => {
  const vectors = await golden("text");
  const ids = vectors("ids_3").values.subarray(0, vectors("ids_3").shape[1]);
  const hidden = t5Reference(await network("text_encoder_3"), await config("text_encoder_3"), ids);
  close(hidden, vectors("last_hidden_state_3").values.subarray(0, hidden.length), "hidden");
});

Deno.test("the reference of the transformer is that of diffusers, in every block", async () => {
  const vectors = await golden("transformer_128x128_b1");
  const [, , height, width] = vectors("latents").shape as [number, number, number, number];
  const seen: string[] = [];
  const sample = transformerReference(
    await network("transformer"),
    await config("transformer"),
    {
      latents: vectors("latents").values,
      height,
      width,
      timestep: vectors("timestep").values[0]!,
      context: Float64Array.from(vectors("prompt_embeds").values),
      pooled: Float64Array.from(vectors("pooled_prompt_embeds").values),
    },
    (name, value) => {
      close(value, vectors(name).values, name);
      seen.push(name);
    },
  );
  close(sample, vectors("sample").values, "sample");
  assert.equal(seen.length, 16);
});

Deno.test("the reference of the autoencoder is that of diffusers, both ways", async () => {
  const vectors = await golden("vae_64x96");
  const weights = await network("vae");
  const settings = await config("vae");
  const planes = (key: string) => {
    const [, channels, height, width] = vectors(key).shape as [number, number, number, number];
    return { data: Float64Array.from(vectors(key).values), channels, height, width };
  };
  const image = decodeReference(weights, settings, planes("decoder_input"));
  close(image.data, vectors("decoded").values, "decoded");
  const { data } = encodeReference(weights, settings, planes("encoder_input"));
  close(data.subarray(0, data.length / 2), vectors("encoded_mean").values, "mean");
  const logvar = data.subarray(data.length / 2).map((v) => Math.min(20, Math.max(-30, v)));
  close(logvar, vectors("encoded_logvar").values, "logvar");
});
