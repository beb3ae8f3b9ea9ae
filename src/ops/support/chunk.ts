import type { Specialisation } from "../../gpu/kernel.ts";

/**
 * How kernels with a `chunk` read rows of `width` values: as vec4f where four divide it, else value
 * by value. `count` chunks make a row.
 */
export function chunkForm(width: number): { form: Specialisation; count: number } {
  return width % 4 === 0
    ? { form: {}, count: width / 4 }
    : { form: { alias: { chunk: "f32" }, const: { LANE_SUM: 0.25 } }, count: width };
}

/** `chunkForm` for kernels whose rows are heads of `headDim` values, held in registers. */
export function headForm(headDim: number): Specialisation {
  const { form, count } = chunkForm(headDim);
  return { ...form, const: { ...form.const, HEAD_CHUNKS: count } };
}

/** Head widths of the model family and of its relatives; others work and are not compiled ahead. */
export const headWidths: readonly number[] = [64, 16, 32, 40, 80, 96, 128, 13];
