/** Attention in f64 over one or two fused qkv streams [B, S_i, 3*H*D]; one [B, S_i, H*D] for each. */
export interface AttentionCase {
  readonly streams: readonly { readonly qkv: ArrayLike<number>; readonly tokens: number }[];
  readonly batch: number;
  readonly heads: number;
  readonly headDim: number;
  readonly scale: number;
  readonly causal?: boolean;
  /** [H, 2T-1] */
  readonly relativeBias?: ArrayLike<number>;
}

export function attention(options: AttentionCase): Float64Array[] {
  const { streams, batch, heads, headDim, scale, causal, relativeBias } = options;
  const width = heads * headDim;
  return streams.map(({ qkv, tokens }) => {
    const output = new Float64Array(batch * tokens * width);
    for (let b = 0; b < batch; b++) {
      for (let h = 0; h < heads; h++) {
        for (let i = 0; i < tokens; i++) {
          const q = (b * tokens + i) * 3 * width + h * headDim;
          const scores: number[] = [];
          const values: { from: ArrayLike<number>; at: number }[] = [];
          for (const stream of streams) {
            const last = causal ? i + 1 : stream.tokens;
            for (let j = 0; j < last; j++) {
              const k = (b * stream.tokens + j) * 3 * width + width + h * headDim;
              let score = 0;
              for (let d = 0; d < headDim; d++) score += qkv[q + d]! * stream.qkv[k + d]!;
              score *= scale;
              if (relativeBias) score += relativeBias[h * (2 * tokens - 1) + j - i + tokens - 1]!;
              scores.push(score);
              values.push({ from: stream.qkv, at: k + width });
            }
          }
          const maximum = Math.max(...scores);
          const weights = scores.map((score) => Math.exp(score - maximum));
          const total = weights.reduce((sum, weight) => sum + weight, 0);
          for (const [j, weight] of weights.entries()) {
            const { from, at } = values[j]!;
            for (let d = 0; d < headDim; d++) {
              const o = (b * tokens + i) * width + h * headDim + d;
              output[o] = output[o]! + weight / total * from[at + d]!;
            }
          }
        }
      }
    }
    return output;
  });
}
