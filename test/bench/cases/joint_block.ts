/**
 * One block of SD3.5-medium with dual attention: adaLN from `temb`, two attentions, both streams'
 * feed-forward.
 */
import { silu } from "../../../src/backends/onnx/export/layers.ts";
import { jointBlock } from "../../../src/backends/onnx/export/transformer.ts";
import { JointBlock } from "../../../src/models/sd3/transformer/joint_block.ts";
import { ModulationBuilder } from "../../../src/models/sd3/transformer/modulation.ts";
import { transformerConfig } from "../../../src/models/sd3/configs.ts";
import { transformerShapes } from "../../foreign/shapes.ts";
import { random } from "../../gpu.ts";
import type { BenchCase } from "./case.ts";

const channels = 1536;
const heads = 24;
/** The first of the 24 blocks; SD3.5-medium's others with dual attention are the same. */
const config = transformerConfig.parse({
  num_layers: 24,
  num_attention_heads: heads,
  attention_head_dim: 64,
  caption_projection_dim: channels,
  joint_attention_dim: 4096,
  pooled_projection_dim: 2048,
  pos_embed_max_size: 384,
  dual_attention_layers: [0],
  qk_norm: "rms_norm",
});
const path = "transformer_blocks.0";

const weights = new Map(
  [...transformerShapes(config)].filter(([name]) => name.startsWith(`${path}.`)),
);

export function jointBlockCase(image: number, context: number): BenchCase {
  const all = image + context;
  const square = 2 * channels * channels;
  const products = image * square * (3 + 1 + 3 + 1 + 8) + context * square * (3 + 1 + 8) +
    square * (9 + 6);
  const scores = 4 * channels * (all * all + image * image);
  return {
    group: "block",
    name: `joint block with dual attention, ${image} + ${context} tokens`,
    flops: products + scores,
    weights,
    inputs: () => ({
      hidden: { shape: [1, image, channels], data: random(image * channels, 3) },
      context: { shape: [1, context, channels], data: random(context * channels, 4) },
      temb: { shape: [1, channels], data: random(channels, 5) },
    }),
    wgsl: (plan) => {
      const builder = new ModulationBuilder(channels);
      const block = new JointBlock(config, 0, plan, builder);
      const modulation = builder.build(plan);
      return (rec, inputs) => {
        const hidden = rec.alloc(inputs.hidden!.shape, "hidden");
        const text = rec.alloc(inputs.context!.shape, "context");
        rec.copy(inputs.hidden!, hidden);
        rec.copy(inputs.context!, text);
        const vectors = modulation.forward(rec, inputs.temb!);
        block.forward(rec, hidden, text, vectors);
        return [hidden, text];
      };
    },
    graph: (g, inputs) => {
      const [hidden, text] = g.within(
        path,
        () =>
          jointBlock(g, inputs.hidden!, inputs.context!, silu(g, inputs.temb!), {
            path,
            channels,
            heads,
            headDim: config.attention_head_dim,
            qkNorm: true,
            dual: true,
            last: false,
          }),
      );
      return [[hidden, [1, image, channels]], [text!, [1, context, channels]]];
    },
  };
}

/** 256x256 pixels with T5's 77 tokens, 512x512 with 256. */
export const jointBlockCases: readonly BenchCase[] = [
  jointBlockCase(256, 154),
  jointBlockCase(1024, 333),
];
