import source from "../../kernels/attention.wgsl" with { type: "text" };
import { defineKernel, type Specialisation } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import type { Candidate } from "../gpu/tuning.ts";
import { attentionTile, attentionTileForm, fitsTile } from "./attention_tile.ts";
import { attentionTexture, fitsTexture } from "./software/attention_texture.ts";
import type { AttentionOptions, AttentionVariant } from "./support/attention_options.ts";
import { headForm, headWidths } from "./support/chunk.ts";
import type { KernelUse } from "./support/kernel_use.ts";

const kernel = defineKernel("attention", source);
const group = 64;

export const attentionUses: KernelUse[] = [{
  kernel,
  specialisations: [
    ...headWidths.map((width) => headForm(width)),
    { override: { CAUSAL: true } },
    { override: { HAS_BIAS: true } },
  ],
}];

/** Multi-head attention over one stream, or two joined; one [B, S_i, H*D] for each stream. */
export function attention(rec: Recorder, options: AttentionOptions): Tensor[] {
  const { streams, heads, headDim, scale, causal = false, relativeBias, label } = options;
  check(options);
  const variant = options.variant ?? chooseVariant(rec, options);
  if (variant === "texture" && fitsTexture(rec, options)) return attentionTexture(rec, options);
  if (variant === "tile" && fitsTile(rec, headDim)) return attentionTile(rec, options);
  const [batch = 0, tokens0 = 0] = streams[0]!.shape;
  const tokens1 = streams[1]?.shape[1] ?? 0;
  const specialise = rowsForm(headDim, causal, relativeBias !== undefined);
  return streams.map((queries, i) => {
    const tokens = queries.shape[1]!;
    const output = rec.alloc([batch, tokens, heads * headDim], `${label}/${i}`);
    rec.dispatch({
      label: `attention/${label}`,
      kernel,
      specialise,
      bindings: {
        queries,
        keys0: streams[0]!,
        keys1: streams[1] ?? streams[0]!,
        relative_bias: relativeBias ?? rec.gpu.absent,
        output,
      },
      params: { heads, query_tokens: tokens, tokens0, tokens1, scale },
      grid: [Math.ceil(tokens / group), heads, batch],
    });
    return output;
  });
}

function rowsForm(headDim: number, causal: boolean, hasBias: boolean): Specialisation {
  return { ...headForm(headDim), override: { CAUSAL: causal, HAS_BIAS: hasBias } };
}

/**
 * The family made for the kind of adapter where it fits. Plain rows may beat a GPU's tiles; on
 * software adapters they are tens of times slower than what reads textures.
 */
function chooseVariant(rec: Recorder, options: AttentionOptions): AttentionVariant {
  const { streams, heads, headDim, causal = false, relativeBias } = options;
  const isSoftware = rec.gpu.family === "software";
  if (isSoftware && fitsTexture(rec, options)) return "texture";
  const hasBias = relativeBias !== undefined;
  const specialise = rowsForm(headDim, causal, hasBias);
  const candidates: (Candidate & { readonly name: AttentionVariant })[] = [
    { name: "rows", kernel, specialise },
  ];
  if (!isSoftware && fitsTile(rec, headDim)) {
    candidates.unshift({ name: "tile", ...attentionTileForm(headDim, hasBias) });
  }
  const tokens = streams.map(({ shape }) => shape[1]!);
  const total = tokens.reduce((sum, count) => sum + count, 0);
  const kind = `${causal ? " causal" : ""}${hasBias ? " biased" : ""}`;
  return rec.choose({
    key: `attention ${heads}x${headDim}${kind} @${tokens.join("+")}`,
    work: 2 * total * total * heads * headDim,
    candidates,
    record: (trial, { name }) => {
      attention(trial, {
        ...options,
        streams: streams.map(({ shape, label }) => trial.alloc([1, ...shape.slice(1)], label)),
        relativeBias: relativeBias && trial.standIn(relativeBias),
        variant: name,
      });
    },
  }).name;
}

function check({ streams, heads, headDim, causal, relativeBias, label }: AttentionOptions): void {
  const [first, second] = streams;
  if (!first || streams.length > 2) {
    throw new TypeError(`${label}: attention joins ${streams.length} streams, wanted one or two`);
  }
  const width = 3 * heads * headDim;
  for (const { label: name, shape } of streams) {
    if (shape.length !== 3 || shape[2] !== width || shape[0] !== first.shape[0]) {
      throw new TypeError(
        `${label}: ${name} is [${shape}], wanted [${
          first.shape[0]
        }, S, ${width}] (3 x ${heads} x ${headDim})`,
      );
    }
  }
  if (second && (causal || relativeBias)) {
    throw new TypeError(`${label}: a causal mask or a relative bias is for one stream, not two`);
  }
  const distances = 2 * first.shape[1]! - 1;
  if (relativeBias && elements(relativeBias.shape) !== heads * distances) {
    throw new TypeError(
      `${label}: ${relativeBias.label} is [${relativeBias.shape}], wanted [${heads}, ${distances}]`,
    );
  }
}
