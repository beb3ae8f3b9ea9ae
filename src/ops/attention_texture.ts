import source from "../../kernels/attention_texture.wgsl" with { type: "text" };
import { defineKernel, type Specialisation } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { AttentionOptions } from "./attention.ts";
import type { KernelUse } from "./kernel_use.ts";

const kernel = defineKernel("attention_texture", source);
const lanes = 16;

export const attentionTextureUses: KernelUse[] = [{
  kernel,
  specialisations: [64, 16, 32, 40, 80, 96, 128].map((headDim) => form(headDim, false)).concat(
    form(64, true),
  ),
}];

/** Rows a lane owns: a head twice as wide leaves registers for half of them. */
function queriesOf(headDim: number): number {
  return headDim <= 64 ? 4 : 2;
}

function form(headDim: number, hasBias: boolean): Specialisation {
  return {
    const: { HEAD_CHUNKS: headDim / 4, QUERIES: queriesOf(headDim) },
    override: { HAS_BIAS: hasBias },
  };
}

/** Whether keys and values of these streams can be copied to a texture, and the kernel holds a row. */
export function fitsTexture(
  rec: Recorder,
  { streams, heads, headDim }: Pick<AttentionOptions, "streams" | "heads" | "headDim">,
): boolean {
  const largest = rec.gpu.limits.maxTextureDimension2D;
  const tokens = streams.reduce((sum, stream) => sum + stream.shape[1]!, 0);
  return headDim % 4 === 0 && headDim <= 128 && heads * headDim % 64 === 0 &&
    heads * headDim / 2 <= largest && tokens <= largest;
}

/**
 * Attention that reads keys and values from a texture, into which both streams are copied one below
 * the other: as many samples at a time as fit side by side.
 */
export function attentionTexture(rec: Recorder, options: AttentionOptions): Tensor[] {
  const { streams, heads, headDim, scale, causal = false, relativeBias, label } = options;
  const width = heads * headDim;
  const [batch = 0] = streams[0]!.shape;
  const tokens = streams.reduce((sum, stream) => sum + stream.shape[1]!, 0);
  const texels = width / 2;
  const atOnce = Math.min(batch, Math.floor(rec.gpu.limits.maxTextureDimension2D / texels));
  const texture = rec.scratchTexture(texels * atOnce, tokens);
  const outputs = streams.map(({ shape }, i) =>
    rec.alloc([batch, shape[1]!, width], `${label}/${i}`)
  );
  for (let first = 0; first < batch; first += atOnce) {
    const samples = Math.min(atOnce, batch - first);
    for (let sample = 0; sample < samples; sample++) {
      let y = 0;
      for (const stream of streams) {
        const height = stream.shape[1]!;
        rec.copyToTexture(stream, texture, {
          byteOffset: 4 * width * (3 * (first + sample) * height + 1),
          bytesPerRow: 12 * width,
          width: texels,
          height,
          x: sample * texels,
          y,
        });
        y += height;
      }
    }
    for (const [i, queries] of streams.entries()) {
      const queryTokens = queries.shape[1]!;
      rec.dispatch({
        label: `attention/${label}`,
        kernel,
        specialise: form(headDim, relativeBias !== undefined),
        bindings: {
          queries,
          keys: texture,
          relative_bias: relativeBias ?? rec.gpu.absent,
          output: outputs[i]!,
        },
        params: {
          heads,
          query_tokens: queryTokens,
          tokens,
          scale,
          first_sample: first,
          causal: Number(causal),
        },
        grid: [Math.ceil(queryTokens / (lanes * queriesOf(headDim))), heads, samples],
      });
    }
  }
  return outputs;
}
