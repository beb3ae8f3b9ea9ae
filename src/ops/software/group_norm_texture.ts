/** GroupNorm's passes over all pixels where x is read from a texture. */
import applySource from "../../../kernels/group_norm_apply_texture.wgsl" with { type: "text" };
import stripsSource from "../../../kernels/group_norm_strips_texture.wgsl" with { type: "text" };
import { flatGrid } from "../../gpu/grid.ts";
import { defineKernel } from "../../gpu/kernel.ts";
import type { Dispatch } from "../../gpu/program.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { copyRows, rowTexture } from "./texture_rows.ts";

export const stripsTexture = defineKernel("group_norm_strips_texture", stripsSource);
export const applyTexture = defineKernel("group_norm_apply_texture", applySource);

/** A pass for strips of x [B, H, W, C], C a multiple of 8: as many at once as the texture holds. */
export function overTexturedStrips(
  rec: Recorder,
  x: Tensor,
  sizes: Readonly<Record<"pixels" | "channels4" | "strip_pixels" | "strip_count", number>>,
  pass: Omit<Dispatch, "params" | "grid">,
): void {
  const { pixels, strip_pixels: strip, strip_count: perSample, channels4 } = sizes;
  const strips = x.shape[0]! * perSample;
  /** Of all samples' pixels, the first of a strip. */
  const firstPixel = (index: number) =>
    Math.floor(index / perSample) * pixels + (index % perSample) * strip;
  const layout = rowTexture(rec, 4 * channels4, strip);
  for (let first = 0; first < strips;) {
    // As many strips as the texture holds; the last of a sample may be short.
    let end = first + 1;
    while (end < strips && firstPixel(end + 1) - firstPixel(first) <= layout.rowsAtOnce) end++;
    const start = firstPixel(first);
    copyRows(rec, x, layout, start, firstPixel(end) - start);
    rec.dispatch({
      ...pass,
      bindings: { ...pass.bindings, x: layout.texture },
      params: {
        ...sizes,
        count: (end - first) * channels4,
        first_strip: first,
        first_pixel: start,
        pixel_shift: layout.shift,
      },
      grid: flatGrid((end - first) * channels4),
    });
    first = end;
  }
}
