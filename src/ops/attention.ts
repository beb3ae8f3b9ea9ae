import source from "../../kernels/attention.wgsl" with { type: "text" };
import { defineKernel, type Specialisation } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/program.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import type { Candidate } from "../gpu/tuning.ts";
import { attentionTile, attentionTileForm, fitsTile } from "./attention_tile.ts";
import { attentionTexture, fitsTexture } from "./attention_texture.ts";
import { headForm, headWidths } from "./chunk.ts";
import type { KernelUse } from "./kernel_use.ts";

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

export interface AttentionOptions {
  /**
   * One or two [B, S_i, 3*H*D] f32: q | k | v along the last axis, each (H, D). Every query sees the
   * keys of both, stream 0's first.
   */
  readonly streams: readonly Tensor[];
  readonly heads: number;
  readonly headDim: number;
  /** Factor of the scores: 1 / sqrt(D), or 1 for T5. */
  readonly scale: number;
  /** Query i sees the keys j <= i; one stream only. */
  readonly causal?: boolean;
  /** [H, 2T-1] f32, added to score (i, j) at j - i + T - 1; one stream only. */
  readonly relativeBias?: Tensor | undefined;
  readonly label: string;
  /** Which family of kernels; default: by the device's tuner. */
  readonly variant?: AttentionVariant | undefined;
}

export const attentionVariants = ["rows", "texture", "tile"] as const;
export type AttentionVariant = typeof attentionVariants[number];

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
  const { isSoftware } = rec.gpu.adapter;
  if (isSoftware && fitsTexture(rec, options)) return "texture";
  const hasBias = relativeBias !== undefined;
  const rows = { kernel, specialise: rowsForm(headDim, causal, hasBias) };
  const candidates: Candidate<AttentionVariant>[] = [{ name: "rows", value: "rows", ...rows }];
  if (!isSoftware && fitsTile(rec, headDim)) {
    candidates.unshift({ name: "tile", value: "tile", ...attentionTileForm(headDim, hasBias) });
  }
  const tokens = streams.map(({ shape }) => shape[1]!);
  const total = tokens.reduce((sum, count) => sum + count, 0);
  const kind = `${causal ? " causal" : ""}${hasBias ? " biased" : ""}`;
  return rec.choose({
    key: `attention ${heads}x${headDim}${kind} @${tokens.join("+")}`,
    work: 2 * total * total * heads * headDim,
    candidates,
    record: (trial, variant) => {
      attention(trial, {
        ...options,
        streams: streams.map(({ shape, label }) => trial.alloc([1, ...shape.slice(1)], label)),
        relativeBias: relativeBias && trial.standIn(relativeBias),
        variant,
      });
    },
  });
}

function check({ streams, heads, headDim, causal, relativeBias, label }: AttentionOptions): void {
  const [first, second] = streams;
  if (!first || streams.length > 2) {
    throw new TypeError(`${label}: attention joins ${streams.length} streams: want one or two`);
  }
  const width = 3 * heads * headDim;
  for (const { label: name, shape } of streams) {
    if (shape.length !== 3 || shape[2] !== width || shape[0] !== first.shape[0]) {
      throw new TypeError(
        `${label}: ${name} is [${shape}]: want [${
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
      `${label}: ${relativeBias.label} is [${relativeBias.shape}]: want [${heads}, ${distances}]`,
    );
  }
}
