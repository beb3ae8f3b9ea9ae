import source from "../../../kernels/attention_texture.wgsl" with { type: "text" };
import { defineKernel, type Specialisation } from "../../gpu/kernel.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { AttentionOptions } from "../support/attention_options.ts";
import type { KernelUse } from "../support/kernel_use.ts";

const kernel = defineKernel("attention_texture", source);
const lanes = 16;

export const attentionTextureUses: KernelUse[] = [{
  kernel,
  specialisations: [64, 16, 32, 40, 80, 96, 128].flatMap((headDim) => [
    form(headDim, rowsOf(headDim).few, false),
    form(headDim, rowsOf(headDim).many, false),
  ]).concat(form(64, rowsOf(64).few, true), form(64, rowsOf(64).many, true)),
}];

/** Rows a lane owns where there are many or few; a head twice as wide leaves room for half of them. */
function rowsOf(headDim: number): { readonly many: number; readonly few: number } {
  return headDim <= 64 ? { many: 8, few: 4 } : { many: 4, few: 2 };
}

function form(headDim: number, queries: number, hasBias: boolean): Specialisation {
  return {
    const: { HEAD_CHUNKS: headDim / 4, QUERIES: queries },
    override: { HAS_BIAS: hasBias },
  };
}

/** Queries `first` to `first + tiles * rows * lanes`, `rows` of them a lane. */
interface Span {
  readonly first: number;
  readonly tiles: number;
  readonly rows: number;
}

/** Whole tiles of many rows a lane, and one of few if those hold the rest. */
function spans(queries: number, headDim: number): Span[] {
  const { many, few } = rowsOf(headDim);
  const rest = queries % (many * lanes);
  const last = rest > 0 && rest <= few * lanes;
  const tiles = (last ? Math.floor : Math.ceil)(queries / (many * lanes));
  return [
    { first: 0, tiles, rows: many },
    { first: tiles * many * lanes, tiles: Number(last), rows: few },
  ].filter((span) => span.tiles > 0);
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
 * the other: as many samples at a time as it holds.
 */
export function attentionTexture(rec: Recorder, options: AttentionOptions): Tensor[] {
  const { streams, heads, headDim, scale, causal = false, relativeBias, label } = options;
  const width = heads * headDim;
  const [batch = 0] = streams[0]!.shape;
  const tokens = streams.reduce((sum, stream) => sum + stream.shape[1]!, 0);
  const texels = width / 2;
  const atOnce = Math.min(batch, Math.floor(rec.gpu.limits.maxTextureDimension2D / tokens));
  const texture = rec.scratchTexture(texels);
  const outputs = streams.map(({ shape }, i) =>
    rec.alloc([batch, shape[1]!, width], `${label}/${i}`)
  );
  for (let first = 0; first < batch; first += atOnce) {
    const samples = Math.min(atOnce, batch - first);
    let y = 0;
    for (const stream of streams) {
      const height = stream.shape[1]!;
      rec.copyToTexture(stream, texture, {
        byteOffset: 4 * width * (3 * first * height + 1),
        bytesPerRow: 12 * width,
        width: texels,
        height: samples * height,
        x: 0,
        y,
      });
      y += samples * height;
    }
    for (const [i, queries] of streams.entries()) {
      const queryTokens = queries.shape[1]!;
      for (const { first: firstQuery, tiles, rows } of spans(queryTokens, headDim)) {
        rec.dispatch({
          label: `attention/${label}`,
          kernel,
          specialise: form(headDim, rows, relativeBias !== undefined),
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
            tokens0: streams[0]!.shape[1]!,
            scale,
            first_sample: first,
            samples,
            first_query: firstQuery,
            causal: Number(causal),
          },
          grid: [tiles, heads, samples],
        });
      }
    }
  }
  return outputs;
}
