import type { Recorder } from "../gpu/recorder.ts";
import type { PerSample, Tensor } from "../gpu/tensor.ts";
import { attention } from "../ops/attention.ts";
import type { AttentionOptions as OpOptions } from "../ops/support/attention_options.ts";
import type { DeclaredWeights } from "../weights/declared.ts";
import { Linear } from "./linear.ts";
import { QkRmsNorm } from "./norms.ts";

export interface ProjectionOptions {
  /** Channels of the stream. */
  readonly channels: number;
  readonly heads: number;
  readonly headDim: number;
  /** Names below the attention's path; without `out` nothing comes back to the stream. */
  readonly names: {
    readonly qkv: readonly [q: string, k: string, v: string];
    readonly out?: string | undefined;
    /** Norms of each head's query and key, where the model has them. */
    readonly norms?: readonly [q: string, k: string] | undefined;
  };
  readonly bias?: boolean;
  /** Of the norms. */
  readonly eps?: number;
}

/** What brings a stream into an attention, and out of it. */
export class AttentionProjections {
  readonly #qkv: Linear;
  readonly #norm: QkRmsNorm | undefined;
  readonly #out: Linear | undefined;

  constructor(weights: DeclaredWeights, path: string, options: ProjectionOptions) {
    const { channels, heads, headDim, names, bias = true, eps = 0 } = options;
    const [rows, at] = [heads * headDim, (name: string) => `${path}.${name}`];
    this.#qkv = new Linear(weights, at(names.qkv.join("+")), channels, 3 * rows, {
      bias,
      parts: names.qkv.map((name) => ({ path: at(name), rows })),
    });
    const [q, k] = names.norms ?? [];
    this.#norm = q && k ? new QkRmsNorm(weights, at(q), at(k), { heads, headDim, eps }) : undefined;
    this.#out = names.out
      ? new Linear(weights, at(names.out), rows, channels, { bias })
      : undefined;
  }

  /** [B, S, channels] to queries, keys and values side by side [B, S, 3 * heads * headDim]. */
  qkv(rec: Recorder, x: Tensor): Tensor {
    const qkv = this.#qkv.forward(rec, x);
    return this.#norm?.forward(rec, qkv) ?? qkv;
  }

  /** Adds the projection of `attended` [B, S, heads * headDim] to the stream, in place. */
  out(rec: Recorder, attended: Tensor, into: Tensor, gate?: PerSample): void {
    this.#out?.forward(rec, attended, { into, gate });
  }
}

export interface AttentionOptions extends Pick<OpOptions, "heads" | "headDim" | "causal"> {
  /** Factor of the scores. Default: 1 / sqrt(headDim). */
  readonly scale?: number;
}

/** Attention of one stream to itself. */
export class SelfAttention {
  readonly path: string;
  readonly #projections: AttentionProjections;
  readonly #options: Omit<OpOptions, "streams" | "label">;

  constructor(
    weights: DeclaredWeights,
    path: string,
    { scale, causal = false, ...options }: ProjectionOptions & AttentionOptions,
  ) {
    const { heads, headDim } = options;
    this.path = path;
    this.#projections = new AttentionProjections(weights, path, options);
    this.#options = { heads, headDim, causal, scale: scale ?? headDim ** -0.5 };
  }

  /** Adds what the normed stream `x` [B, T, channels] attends to to `into`, in place. */
  forward(rec: Recorder, x: Tensor, into: Tensor, relativeBias?: Tensor): void {
    const streams = [this.#projections.qkv(rec, x)];
    const options = { ...this.#options, relativeBias, label: this.path };
    const [attended] = attention(rec, { streams, ...options });
    this.#projections.out(rec, attended!, into);
  }
}
