/**
 * Memory that onnxruntime takes while a graph runs, for admission: upper estimates, fitted to what
 * the ledger counted on the exported graphs of the small model at several sizes.
 */
import type { VaeConfig } from "../../models/sd3/configs.ts";

/** Tensors of tokens * width alive at once: residual streams, q, k, v, the widened MLP. */
const tokenTensors = 28;
/** Images alive at once at the decoder's widest level. */
const imageTensors = 10;

/** Bytes for a transformer of any kind, whose scores are written out: no fused attention. */
export function tokenActivations(tokens: number, width: number, heads: number): number {
  return 4 * (2 * heads * tokens * tokens + tokenTensors * tokens * width);
}

/** Bytes of the VAE's largest activation for each latent pixel. */
export function largestPerLatent({ block_out_channels }: VaeConfig): number {
  const widths = block_out_channels.toReversed();
  // a level's first resnet reads the level before at twice its size
  return 4 * Math.max(...widths.map((width, i) => 4 ** i * Math.max(width, widths[i - 1] ?? 0)));
}

/** Bytes for decoding or encoding an image of `area` latent pixels. */
export function imageActivations(config: VaeConfig, area: number): number {
  return imageTensors * largestPerLatent(config) * area + 2 * 4 * area * area;
}
