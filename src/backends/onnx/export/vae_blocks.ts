/** Blocks of `AutoencoderKL`, after diffusers' `models/resnet.py` and `models/autoencoders/vae.py`. */
import type { VaeConfig } from "../../../models/sd3/configs.ts";
import type { GraphBuilder, Value } from "./graph.ts";
import { attention, conv, groupNorm, linear, mergeHeads, silu } from "./layers.ts";

const epsilon = 1e-6;
const samePadding: readonly [number, number, number, number] = [1, 1, 1, 1];

/** A 3x3 convolution that keeps height and width. */
export function conv3(
  g: GraphBuilder,
  x: Value,
  path: string,
  inputs: number,
  outputs: number,
): Value {
  return conv(g, x, path, { inputs, outputs, kernel: 3, pads: samePadding });
}

/** Group norm, then silu. */
export function normSilu(
  g: GraphBuilder,
  x: Value,
  path: string,
  channels: number,
  groups: number,
): Value {
  return silu(g, groupNorm(g, x, path, channels, groups, epsilon));
}

export function resnet(
  g: GraphBuilder,
  x: Value,
  path: string,
  inputs: number,
  outputs: number,
  groups: number,
): Value {
  return g.within(path, () => {
    let hidden = normSilu(g, x, `${path}.norm1`, inputs, groups);
    hidden = conv3(g, hidden, `${path}.conv1`, inputs, outputs);
    hidden = normSilu(g, hidden, `${path}.norm2`, outputs, groups);
    hidden = conv3(g, hidden, `${path}.conv2`, outputs, outputs);
    const shortcut = inputs === outputs
      ? x
      : conv(g, x, `${path}.conv_shortcut`, { inputs, outputs, kernel: 1 });
    return g.op("Add", [shortcut, hidden]);
  });
}

/** Resnet, attention over all pixels with one head, resnet. */
export function midBlock(
  g: GraphBuilder,
  x: Value,
  path: string,
  channels: number,
  config: VaeConfig,
): Value {
  const groups = config.norm_num_groups;
  let hidden = resnet(g, x, `${path}.resnets.0`, channels, channels, groups);
  if (config.mid_block_add_attention) {
    hidden = pixelAttention(g, hidden, `${path}.attentions.0`, channels, groups);
  }
  return resnet(g, hidden, `${path}.resnets.1`, channels, channels, groups);
}

function pixelAttention(
  g: GraphBuilder,
  x: Value,
  path: string,
  channels: number,
  groups: number,
): Value {
  return g.within(path, () => {
    const normed = groupNorm(g, x, `${path}.group_norm`, channels, groups, epsilon);
    const flat = g.op("Reshape", [normed, g.ints([0, channels, -1])]);
    const tokens = g.op("Transpose", [flat], { perm: [0, 2, 1] });
    const head = (layer: string) => {
      const projected = linear(g, tokens, `${path}.${layer}`, channels, channels);
      return g.op("Unsqueeze", [projected, g.ints([1])]);
    };
    const attended = attention(g, head("to_q"), head("to_k"), head("to_v"), channels ** -0.5);
    const merged = mergeHeads(g, attended, channels);
    const out = linear(g, merged, `${path}.to_out.0`, channels, channels);
    const planes = g.op("Transpose", [out], { perm: [0, 2, 1] });
    return g.op("Add", [x, g.op("Reshape", [planes, g.op("Shape", [x], {}, "i64")])]);
  });
}
