/**
 * Memory that onnxruntime takes while a graph runs, for admission: upper estimates, fitted to what
 * the ledger counted on the exported graphs of the small model at several sizes.
 */
import { largestPerLatent, type VaeConfig } from "../../models/sd3/configs.ts";

/** Tensors of tokens * width alive at once: residual streams, q, k, v, the widened MLP. */
const tokenTensors = 28;
/** Images alive at once at the decoder's widest level. */
const imageTensors = 10;

/** Bytes for a transformer of any kind, whose scores are written out: no fused attention. */
export function tokenActivations(tokens: number, width: number, heads: number): number {
  return 4 * (2 * heads * tokens * tokens + tokenTensors * tokens * width);
}

/** Bytes for decoding or encoding an image of `area` latent pixels. */
export function imageActivations(config: VaeConfig, area: number): number {
  return imageTensors * largestPerLatent(config) * area + 2 * 4 * area * area;
}
