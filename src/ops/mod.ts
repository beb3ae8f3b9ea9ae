/**
 * Every kernel with every specialisation that its op may ask for: the list that the tests compile
 * with both WGSL compilers. One line an op.
 */
import { attentionUses } from "./attention.ts";
import { attentionTextureUses } from "./software/attention_texture.ts";
import { attentionTileUses } from "./attention_tile.ts";
import { qkRmsNormUses } from "./qk_rms_norm.ts";
import { softmaxRowsUses } from "./softmax_rows.ts";
import { transposeUses } from "./transpose.ts";
import { activationUses } from "./activation.ts";
import { addUses } from "./add.ts";
import { croppedPositionsUses } from "./cropped_positions.ts";
import { embeddingUses } from "./embedding.ts";
import { fillUses } from "./fill.ts";
import { gatedGeluUses } from "./gated_gelu.ts";
import { gatherRowsUses } from "./gather_rows.ts";
import { groupNormUses } from "./group_norm.ts";
import { guidedCombinationUses } from "./guided_combination.ts";
import { guidedStepUses } from "./guided_step.ts";
import { layerNormUses } from "./layer_norm.ts";
import { nchwToNhwcUses } from "./nchw_to_nhwc.ts";
import { nhwcToNchwUses } from "./nhwc_to_nchw.ts";
import { patchifyUses } from "./patchify.ts";
import { placeUses } from "./place.ts";
import { rmsNormUses } from "./rms_norm.ts";
import { timestepEmbeddingUses } from "./timestep_embedding.ts";
import { toRgba8Uses } from "./to_rgba8.ts";
import { unpatchifyUses } from "./unpatchify.ts";
import type { KernelUse } from "./support/kernel_use.ts";
import { conv2dUses } from "./conv2d.ts";
import { conv2dTextureUses } from "./software/conv2d_texture.ts";
import { linearUses } from "./linear.ts";
import { linearTextureUses } from "./software/linear_texture.ts";
import { resizeRowsUses } from "./resize_rows.ts";

export const kernelUses: readonly KernelUse[] = [
  ...conv2dUses,
  ...conv2dTextureUses,
  ...linearUses,
  ...linearTextureUses,
  ...resizeRowsUses,
  ...attentionUses,
  ...attentionTextureUses,
  ...attentionTileUses,
  ...qkRmsNormUses,
  ...softmaxRowsUses,
  ...transposeUses,
  ...activationUses,
  ...addUses,
  ...croppedPositionsUses,
  ...embeddingUses,
  ...fillUses,
  ...gatedGeluUses,
  ...gatherRowsUses,
  ...groupNormUses,
  ...guidedCombinationUses,
  ...guidedStepUses,
  ...layerNormUses,
  ...nchwToNhwcUses,
  ...nhwcToNchwUses,
  ...patchifyUses,
  ...placeUses,
  ...rmsNormUses,
  ...timestepEmbeddingUses,
  ...toRgba8Uses,
  ...unpatchifyUses,
];
