/** Both CLIPs, T5 and their joined embeddings against diffusers, layer by layer. */
import type { Tensor } from "../../src/gpu/tensor.ts";
import { ClipTextModel } from "../../src/models/sd3/text_encoders/clip.ts";
import { embedPrompt } from "../../src/models/sd3/embed_prompt.ts";
import { openCheckpoint } from "../../src/weights/layouts/mod.ts";
import { DeclaredWeights } from "../../src/weights/declared.ts";
import { assertClose } from "../gpu.ts";
import { tolerance } from "../tolerance.ts";
import { golden, openFixture } from "./fixture.ts";

const { gpu, model, components } = await openFixture();
const vectors = await golden("text");
const prompts = 3;

function ids(key: string, row: number): Int32Array<ArrayBuffer> {
  const { shape, values } = vectors(key);
  const length = shape[1]!;
  return Int32Array.from(values.subarray(row * length, (row + 1) * length));
}

function row(key: string, index: number): Float32Array {
  const { shape, values } = vectors(key);
  const size = values.length / shape[0]!;
  return values.subarray(index * size, (index + 1) * size);
}

for (const [encoder, config] of [[1, model.configs.clipL], [2, model.configs.clipG]] as const) {
  Deno.test(`CLIP ${encoder} agrees in every layer, in a batch of three`, async () => {
    const declared = new DeclaredWeights(`clip ${encoder}`);
    const clip = new ClipTextModel(config, declared);
    const folder = encoder === 1 ? "text_encoder" : "text_encoder_2";
    await declared.load(await openCheckpoint(model.source, folder), gpu);
    const length = vectors(`ids_${encoder}`).shape[1]!;
    const all = [0, 1, 2].map((i) => ids(`ids_${encoder}`, i));
    const rec = gpu.record("clip");
    const input = rec.alloc([prompts, length], "ids", "u32");
    const pooling = rec.alloc([prompts], "pooling", "u32");
    const seen = new Map<string, Tensor>();
    const keep = (name: string, tensor: Tensor) => {
      const copy = gpu.createTensor(tensor.shape, name, "other");
      rec.copy(tensor, copy);
      seen.set(name, copy);
    };
    const output = clip.forward(rec, input, pooling, 0, keep);
    keep("penultimate", output.hidden);
    keep("text_embeds", output.pooled);
    const program = await rec.finish();
    gpu.write(input, Uint32Array.from(all.flatMap((row) => [...row])));
    gpu.write(pooling, Uint32Array.from(all.map((row) => clip.poolingIndex(row))));
    await gpu.run(program);
    for (const [name, tensor] of seen) {
      const key = name.startsWith("hidden_state")
        ? name.replace("hidden_state", `hidden_state_${encoder}`)
        : `${name}_${encoder}`;
      assertClose(await gpu.readFloats(tensor), vectors(key).values, tolerance.module, key);
    }
  });
}

Deno.test("T5 agrees for each prompt", async () => {
  const { shape } = vectors("last_hidden_state_3");
  for (let i = 0; i < prompts; i++) {
    const out = gpu.createTensor([1, ...shape.slice(1)], "t5", "other");
    await components.t5!.embed(ids("ids_3", i), out);
    const expected = row("last_hidden_state_3", i);
    assertClose(await gpu.readFloats(out), expected, tolerance.module, `prompt ${i}`);
  }
});

Deno.test("the joined embeddings are those of encode_prompt", async () => {
  for (let i = 0; i < prompts; i++) {
    const tokens = { clipL: ids("ids_1", i), clipG: ids("ids_2", i), t5: ids("ids_3", i) };
    const { promptEmbeds, pooled } = await embedPrompt(gpu, components, tokens, {
      width: model.configs.transformer.joint_attention_dim,
      t5Length: tokens.t5.length,
    });
    assertClose(
      await gpu.readFloats(promptEmbeds),
      row("prompt_embeds", i),
      tolerance.module,
      `prompt_embeds ${i}`,
    );
    assertClose(
      await gpu.readFloats(pooled),
      row("pooled_prompt_embeds", i),
      tolerance.module,
      `pooled_prompt_embeds ${i}`,
    );
  }
});
