/** The transformer against diffusers: every intermediate output, then other sizes and batches. */
import type { Tensor } from "../../src/gpu/tensor.ts";
import { MMDiT } from "../../src/models/sd3/transformer/mmdit.ts";
import { openCheckpoint } from "../../src/weights/layouts/mod.ts";
import { DeclaredWeights } from "../../src/weights/declared.ts";
import { assertClose } from "../gpu.ts";
import { tolerance } from "../tolerance.ts";
import { golden, openFixture } from "./fixture.ts";

const { gpu, model } = await openFixture();
const declared = new DeclaredWeights("transformer");
const transformer = new MMDiT(model.configs.transformer, declared);
await declared.load(await openCheckpoint(model.source, "transformer"), gpu);

for (
  const name of [
    "transformer_128x128_b1",
    "transformer_128x128_b2",
    "transformer_96x160_b1",
    "transformer_96x160_b2",
  ]
) {
  Deno.test(`${name} agrees`, async () => {
    const vectors = await golden(name);
    const rec = gpu.record(name);
    const upload = (key: string) => {
      const { shape, values } = vectors(key);
      return gpu.upload(values, shape, key, "other");
    };
    const seen = new Map<string, Tensor>();
    const keep = (key: string, tensor: Tensor) => {
      const copy = gpu.createTensor(tensor.shape, key, "other");
      rec.copy(tensor, copy);
      seen.set(key, copy);
    };
    const context = transformer.embedContext(rec, upload("prompt_embeds"));
    const pooled = transformer.embedPooled(rec, upload("pooled_prompt_embeds"));
    const inputs = {
      latents: upload("latents"),
      timesteps: upload("timestep"),
      context,
      pooled,
    };
    const withSteps = name.endsWith("128x128_b1");
    if (withSteps) keep("context_embedder_out", context);
    keep("sample", transformer.forward(rec, inputs, [], withSteps ? keep : undefined));
    await gpu.run(await rec.finish());
    // Nobody reads the context after the last block, and diffusers returns none there.
    seen.delete(`block_${model.configs.transformer.num_layers - 1}_context`);
    for (const [key, tensor] of seen) {
      assertClose(await gpu.readFloats(tensor), vectors(key).values, tolerance.module, key);
    }
  });
}
