import source from "../../kernels/attention_tile.wgsl" with { type: "text" };
import { defineKernel, type Specialisation } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { AttentionOptions } from "./support/attention_options.ts";
import type { KernelUse } from "./support/kernel_use.ts";

const kernel = defineKernel("attention_tile", source);
const tileRows = 32;

export const attentionTileUses: KernelUse[] = [{
  kernel,
  specialisations: [form(32, false), form(64, false), form(64, true)],
}];

function form(headDim: number, hasBias: boolean): Specialisation {
  return { const: { HEAD_CHUNKS: headDim / 4 }, override: { HAS_BIAS: hasBias } };
}

export function attentionTileForm(headDim: number, hasBias: boolean) {
  return { kernel, specialise: form(headDim, hasBias) };
}

/** Whether the tiles of this head width fit the device's workgroup memory. */
export function fitsTile(rec: Recorder, headDim: number): boolean {
  const bytes = tileRows * headDim * 4 + 256 * 16 + 256 * 4;
  return headDim % 32 === 0 && bytes <= rec.gpu.limits.maxComputeWorkgroupStorageSize;
}

/** Attention whose workgroups share tiles of keys, weights and values. */
export function attentionTile(rec: Recorder, options: AttentionOptions): Tensor[] {
  const { streams, heads, headDim, scale, causal = false, relativeBias, label } = options;
  const [batch = 0, tokens0 = 0] = streams[0]!.shape;
  const tokens1 = streams[1]?.shape[1] ?? 0;
  return streams.map((queries, i) => {
    const tokens = queries.shape[1]!;
    const output = rec.alloc([batch, tokens, heads * headDim], `${label}/${i}`);
    rec.dispatch({
      label: `attention/${label}`,
      kernel,
      specialise: form(headDim, relativeBias !== undefined),
      bindings: {
        queries,
        keys0: streams[0]!,
        keys1: streams[1] ?? streams[0]!,
        relative_bias: relativeBias ?? rec.gpu.absent,
        output,
      },
      params: { heads, query_tokens: tokens, tokens0, tokens1, scale, causal: Number(causal) },
      grid: [Math.ceil(tokens / tileRows), heads, batch],
    });
    return output;
  });
}
