/** AutoencoderKL in f64 for one image, after diffusers' `vae.py`, `unet_2d_blocks.py`, `resnet.py`. */
import { addTo, attention, linear, silu, type Weights } from "./layers.ts";

export interface VaeReferenceConfig {
  readonly block_out_channels: readonly number[];
  readonly layers_per_block: number;
  readonly latent_channels: number;
  readonly norm_num_groups: number;
  readonly use_quant_conv: boolean;
  readonly use_post_quant_conv: boolean;
  readonly mid_block_add_attention: boolean;
}

/** Channels first. */
export interface Planes {
  readonly data: Float64Array;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

const eps = 1e-6;

/** Decoder's input [latent_channels, h, w] to [3, H, W]. */
export function decodeReference(w: Weights, config: VaeReferenceConfig, latents: Planes): Planes {
  const { norm_num_groups: groups, layers_per_block, block_out_channels } = config;
  let x = latents;
  if (config.use_post_quant_conv) x = conv(w, "post_quant_conv", x);
  x = conv(w, "decoder.conv_in", x);
  x = mid(w, "decoder.mid_block", x, config);
  for (let i = 0; i < block_out_channels.length; i++) {
    const path = `decoder.up_blocks.${i}`;
    for (let j = 0; j <= layers_per_block; j++) x = resnet(w, `${path}.resnets.${j}`, x, groups);
    if (i < block_out_channels.length - 1) {
      x = conv(w, `${path}.upsamplers.0.conv`, enlarge(x));
    }
  }
  return conv(w, "decoder.conv_out", active(groupNorm(w, "decoder.conv_norm_out", x, groups)));
}

/** An image [3, H, W] to the moments [2 * latent_channels, h, w]. */
export function encodeReference(w: Weights, config: VaeReferenceConfig, image: Planes): Planes {
  const { norm_num_groups: groups, layers_per_block, block_out_channels } = config;
  let x = conv(w, "encoder.conv_in", image);
  for (let i = 0; i < block_out_channels.length; i++) {
    const path = `encoder.down_blocks.${i}`;
    for (let j = 0; j < layers_per_block; j++) x = resnet(w, `${path}.resnets.${j}`, x, groups);
    // Downsample2D pads by one on the right and at the bottom only.
    if (i < block_out_channels.length - 1) {
      x = conv(w, `${path}.downsamplers.0.conv`, x, { before: 0, after: 1, stride: 2 });
    }
  }
  x = mid(w, "encoder.mid_block", x, config);
  x = conv(w, "encoder.conv_out", active(groupNorm(w, "encoder.conv_norm_out", x, groups)));
  return config.use_quant_conv ? conv(w, "quant_conv", x) : x;
}

function mid(w: Weights, path: string, x: Planes, config: VaeReferenceConfig): Planes {
  const { norm_num_groups: groups } = config;
  let y = resnet(w, `${path}.resnets.0`, x, groups);
  if (config.mid_block_add_attention) y = pixelAttention(w, `${path}.attentions.0`, y, groups);
  return resnet(w, `${path}.resnets.1`, y, groups);
}

function resnet(w: Weights, path: string, x: Planes, groups: number): Planes {
  const a = conv(w, `${path}.conv1`, active(groupNorm(w, `${path}.norm1`, x, groups)));
  const b = conv(w, `${path}.conv2`, active(groupNorm(w, `${path}.norm2`, a, groups)));
  const residual = b.channels === x.channels ? x : conv(w, `${path}.conv_shortcut`, x);
  return { ...b, data: addTo(b.data, residual.data) };
}

function pixelAttention(w: Weights, path: string, x: Planes, groups: number): Planes {
  const { channels: c, height, width } = x;
  const pixels = height * width;
  const normed = groupNorm(w, `${path}.group_norm`, x, groups).data;
  const rows = new Float64Array(normed.length)
    .map((_, i) => normed[(i % c) * pixels + Math.floor(i / c)]!);
  const [q, k, v] = ["to_q", "to_k", "to_v"]
    .map((name) => linear(w, `${path}.${name}`, rows, c)) as [
      Float64Array,
      Float64Array,
      Float64Array,
    ];
  const mixed = attention(q, k, v, { heads: 1, d: c, scale: 1 / Math.sqrt(c) });
  const out = linear(w, `${path}.to_out.0`, mixed, c);
  return {
    ...x,
    data: x.data.map((value, i) => value + out[(i % pixels) * c + Math.floor(i / pixels)]!),
  };
}

const active = (x: Planes): Planes => ({ ...x, data: x.data.map(silu) });

function groupNorm(w: Weights, path: string, x: Planes, groups: number): Planes {
  const weight = w(`${path}.weight`);
  const bias = w(`${path}.bias`);
  const pixels = x.height * x.width;
  const size = x.channels / groups * pixels;
  const data = new Float64Array(x.data.length);
  for (let at = 0; at < data.length; at += size) {
    const group = x.data.subarray(at, at + size);
    const mean = group.reduce((sum, v) => sum + v, 0) / size;
    const variance = group.reduce((sum, v) => sum + (v - mean) ** 2, 0) / size;
    for (let i = at; i < at + size; i++) {
      const c = Math.floor(i / pixels);
      data[i] = (x.data[i]! - mean) / Math.sqrt(variance + eps) * weight[c]! + bias[c]!;
    }
  }
  return { ...x, data };
}

/** Nearest neighbour, twice as large. */
function enlarge({ data, channels, height, width }: Planes): Planes {
  const result = new Float64Array(data.length * 4).map((_, i) => {
    const column = Math.floor(i % (2 * width) / 2);
    const row = Math.floor(Math.floor(i / (2 * width)) / 2);
    return data[row * width + column]!;
  });
  return { data: result, channels, height: 2 * height, width: 2 * width };
}

/** A convolution whose kernel's size follows from the weight; by default as much padding as keeps the size. */
function conv(
  w: Weights,
  path: string,
  x: Planes,
  options?: { before: number; after: number; stride: number },
): Planes {
  const weight = w(`${path}.weight`);
  const bias = w(`${path}.bias`);
  const outputs = bias.length;
  const size = Math.round(Math.sqrt(weight.length / outputs / x.channels));
  const pad = (size - 1) / 2;
  const { before, after, stride } = options ?? { before: pad, after: pad, stride: 1 };
  const height = Math.floor((x.height + before + after - size) / stride) + 1;
  const width = Math.floor((x.width + before + after - size) / stride) + 1;
  const data = new Float64Array(outputs * height * width);
  for (let o = 0; o < outputs; o++) {
    const plane = data.subarray(o * height * width, (o + 1) * height * width).fill(bias[o]!);
    for (let i = 0; i < x.channels; i++) {
      for (let u = 0; u < size; u++) {
        for (let v = 0; v < size; v++) {
          const factor = weight[((o * x.channels + i) * size + u) * size + v]!;
          for (let r = 0; r < height; r++) {
            const row = r * stride + u - before;
            if (row < 0 || row >= x.height) continue;
            const from = (i * x.height + row) * x.width;
            for (let q = 0; q < width; q++) {
              const column = q * stride + v - before;
              if (column < 0 || column >= x.width) continue;
              plane[r * width + q]! += factor * x.data[from + column]!;
            }
          }
        }
      }
    }
  }
  return { data, channels: outputs, height, width };
}
