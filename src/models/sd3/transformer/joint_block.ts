/**
 * One JointTransformerBlock (diffusers `attention.py`; MMDiT of arXiv:2403.03206, MMDiT-X where
 * `dual`): image and context streams with their own weights, joined in attention.
 */
import type { Recorder } from "../../../gpu/recorder.ts";
import type { PerSample, Tensor } from "../../../gpu/tensor.ts";
import { AttentionProjections } from "../../../nn/attention.ts";
import { Mlp } from "../../../nn/mlp.ts";
import { attention } from "../../../ops/attention.ts";
import { layerNorm } from "../../../ops/layer_norm.ts";
import type { DeclaredWeights } from "../../../weights/declared.ts";
import type { TransformerConfig } from "../configs.ts";
import {
  continuous,
  type ModulatedLayer,
  type ModulationBuilder,
  normEps,
  zero,
  zeroX,
} from "./modulation.ts";

const own = {
  qkv: ["to_q", "to_k", "to_v"],
  out: "to_out.0",
  norms: ["norm_q", "norm_k"],
} as const;
const added = {
  qkv: ["add_q_proj", "add_k_proj", "add_v_proj"],
  out: "to_add_out",
  norms: ["norm_added_q", "norm_added_k"],
} as const;

export class JointBlock {
  readonly path: string;
  readonly #config: TransformerConfig;
  readonly #norm1: ModulatedLayer<typeof zero[number]>;
  readonly #norm1Context: ModulatedLayer<typeof continuous[number]>;
  readonly #attn: AttentionProjections;
  readonly #attnContext: AttentionProjections;
  /** MMDiT-X: vectors for a second attention, of the image to itself. */
  readonly #norm1X: ModulatedLayer<typeof zeroX[number]> | undefined;
  readonly #attn2: AttentionProjections | undefined;
  readonly #ff: Mlp;
  /** Absent in the last block, whose context is not read again. */
  readonly #normRest: ModulatedLayer<typeof zero[number]> | undefined;
  readonly #ffContext: Mlp | undefined;

  constructor(
    config: TransformerConfig,
    index: number,
    weights: DeclaredWeights,
    modulation: ModulationBuilder,
  ) {
    this.#config = config;
    const path = this.path = `transformer_blocks.${index}`;
    const last = index === config.num_layers - 1;
    const dual = config.dual_attention_layers.includes(index);
    const { caption_projection_dim: channels, num_attention_heads: heads } = config;
    const headDim = config.attention_head_dim;
    const project = (name: string, { qkv, out, norms }: typeof own | typeof added) =>
      new AttentionProjections(weights, `${path}.${name}`, {
        ...{ channels, heads, headDim, eps: normEps },
        names: {
          qkv,
          out: last && qkv === added.qkv ? undefined : out,
          norms: config.qk_norm ? norms : undefined,
        },
      });
    const feedForward = (name: string) =>
      new Mlp(weights, `${path}.${name}`, {
        names: ["net.0.proj", "net.2"],
        widths: [channels, 4 * channels, channels],
        activation: "gelu_tanh",
      });
    const norm1 = `${path}.norm1.linear`;
    this.#norm1X = dual ? modulation.layer(norm1, zeroX) : undefined;
    this.#norm1 = this.#norm1X ?? modulation.layer(norm1, zero);
    const norm1Context = `${path}.norm1_context.linear`;
    this.#normRest = last ? undefined : modulation.layer(norm1Context, zero);
    this.#norm1Context = this.#normRest ?? modulation.layer(norm1Context, continuous);
    this.#attn = project("attn", own);
    this.#attnContext = project("attn", added);
    this.#attn2 = dual ? project("attn2", own) : undefined;
    this.#ff = feedForward("ff");
    this.#ffContext = last ? undefined : feedForward("ff_context");
  }

  /**
   * Updates `x` [B, S, hidden] and `context` [B, T, hidden] in place.
   *
   * @param vectors all adaLN vectors of the step, from `Modulation.forward`
   */
  forward(rec: Recorder, x: Tensor, context: Tensor, vectors: Tensor): void {
    const image = this.#norm1.of(vectors);
    const text = this.#norm1Context.of(vectors);
    const second = this.#norm1X?.of(vectors);
    const rest = this.#normRest?.of(vectors);

    // Streams go side by side: what their ops read from textures is copied there together.
    const xNormed = this.#norm(rec, "norm1", x, image.shift, image.scale);
    const cNormed = this.#norm(rec, "norm1_context", context, text.shift, text.scale);
    const x2Normed = second && this.#norm(rec, "norm1_2", x, second.shift2, second.scale2);
    const xQkv = this.#attn.qkv(rec, xNormed);
    const cQkv = this.#attnContext.qkv(rec, cNormed);
    const x2Qkv = x2Normed && this.#attn2!.qkv(rec, x2Normed);
    const [xOut, cOut] = this.#attend(rec, "attn", [xQkv, cQkv]);
    const [x2Out] = x2Qkv ? this.#attend(rec, "attn2", [x2Qkv]) : [];
    this.#attn.out(rec, xOut!, x, image.gate);
    if (x2Out) this.#attn2!.out(rec, x2Out, x, second!.gate2);
    this.#attnContext.out(rec, cOut!, context, rest?.gate);

    const xMlp = this.#norm(rec, "norm2", x, image.shiftMlp, image.scaleMlp);
    const cMlp = rest && this.#norm(rec, "norm2_context", context, rest.shiftMlp, rest.scaleMlp);
    const xHidden = this.#ff.first(rec, xMlp);
    const cHidden = cMlp && this.#ffContext!.first(rec, cMlp);
    this.#ff.second(rec, xHidden, { into: x, gate: image.gateMlp });
    if (cHidden) this.#ffContext!.second(rec, cHidden, { into: context, gate: rest!.gateMlp });
  }

  #norm(rec: Recorder, name: string, x: Tensor, shift: PerSample, scale: PerSample): Tensor {
    return layerNorm(rec, { x, shift, scale, eps: normEps, label: `${this.path}.${name}` });
  }

  #attend(rec: Recorder, name: string, streams: readonly Tensor[]): Tensor[] {
    const { num_attention_heads: heads, attention_head_dim: headDim } = this.#config;
    const label = `${this.path}.${name}`;
    return attention(rec, { streams, heads, headDim, scale: headDim ** -0.5, label });
  }
}
