/**
 * `encode_prompt` of diffusers' StableDiffusion3Pipeline: both CLIPs' hidden states side by side,
 * padded with zeros to T5's width, then T5's below them; the two pooled texts side by side.
 */
import type { Gpu } from "../../gpu/device.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { fill } from "../../ops/fill.ts";
import { place } from "../../ops/place.ts";
import type { ClipComponent, T5Component } from "./components.ts";

/** Padded ids of the three tokenizers; `t5` is empty where the model has no T5. */
export interface PromptTokens {
  readonly clipL: Int32Array<ArrayBuffer>;
  readonly clipG: Int32Array<ArrayBuffer>;
  readonly t5: Int32Array<ArrayBuffer>;
}

export interface PromptEmbeds {
  /** [1, T, joint_attention_dim] */
  readonly promptEmbeds: Tensor;
  /** [1, projection_dim + projection_dim] */
  readonly pooled: Tensor;
}

export interface TextEncoderComponents {
  readonly clipL: ClipComponent;
  readonly clipG: ClipComponent;
  readonly t5: T5Component | undefined;
}

/**
 * Encodes one prompt. The result is the caller's to destroy.
 *
 * @param width of the context: joint_attention_dim
 * @param t5Length tokens of T5's part, also where zeros stand for an absent T5
 * @param clipSkip layers that the CLIPs' hidden states go without, beside the last
 */
export async function embedPrompt(
  gpu: Gpu,
  { clipL, clipG, t5 }: TextEncoderComponents,
  tokens: PromptTokens,
  { width, t5Length, clipSkip = 0 }: { width: number; t5Length: number; clipSkip?: number },
): Promise<PromptEmbeds> {
  const clipLength = tokens.clipL.length;
  const length = clipLength + t5Length;
  const temporary: Tensor[] = [];
  const made: Tensor[] = [];
  const tensor = (shape: number[], label: string) => {
    const t = gpu.createTensor(shape, label, "cache");
    temporary.push(t);
    return t;
  };
  try {
    const output = (component: ClipComponent, name: string) => ({
      hidden: tensor([1, clipLength, component.hiddenSize], `${name}/hidden`),
      pooled: tensor([1, component.projectionDim], `${name}/pooled`),
    });
    const l = output(clipL, "clip_l");
    const g = output(clipG, "clip_g");
    const t = t5 && tensor([1, t5Length, t5.hiddenSize], "t5/hidden");
    await clipL.embed(tokens.clipL, l, clipSkip);
    await clipG.embed(tokens.clipG, g, clipSkip);
    if (t) await t5.embed(tokens.t5, t);

    const promptEmbeds = gpu.createTensor([1, length, width], "prompt_embeds", "cache");
    made.push(promptEmbeds);
    const pooledWidth = clipL.projectionDim + clipG.projectionDim;
    const pooled = gpu.createTensor([1, pooledWidth], "pooled_prompt_embeds", "cache");
    made.push(pooled);

    const rec = gpu.record("prompt embeds");
    const pooledRow = { ...pooled, shape: [1, 1, pooledWidth] };
    const row = (x: Tensor) => ({ ...x, shape: [1, 1, x.shape[1]!] });
    const put = (x: Tensor, into: Tensor, rowIndex: number, column: number, label: string) =>
      place(rec, { x, into, row: rowIndex, column, label });
    fill(rec, { into: promptEmbeds, value: 0, label: "prompt_embeds/zero" });
    put(l.hidden, promptEmbeds, 0, 0, "clip_l/context");
    put(g.hidden, promptEmbeds, 0, clipL.hiddenSize, "clip_g/context");
    if (t) put(t, promptEmbeds, clipLength, 0, "t5/context");
    put(row(l.pooled), pooledRow, 0, 0, "clip_l/pooled");
    put(row(g.pooled), pooledRow, 0, clipL.projectionDim, "clip_g/pooled");
    const program = await rec.finish();
    await gpu.run(program).finally(() => program.dispose());
    return { promptEmbeds, pooled };
  } catch (error) {
    gpu.destroyTensor(...made);
    throw error;
  } finally {
    gpu.destroyTensor(...temporary);
  }
}
