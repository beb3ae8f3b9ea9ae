/** What the kernels of the linear op have in common. */
import type { Specialisation } from "../../gpu/kernel.ts";
import { quantBits, type WeightDType } from "../../gpu/quantized.ts";
import type { Candidate } from "../../gpu/tuning.ts";

/** How workgroups lie over the outputs. */
export interface Groups {
  /** Invocations side by side over columns; the others lie over rows. */
  readonly lanesN: number;
  /** Workgroups over rows and over columns. */
  readonly groupsM: number;
  readonly groupsN: number;
}

export interface LinearVariant extends Candidate {
  layout(rows: number, columns: number): Groups;
}

export interface LinearShape {
  /** Of the whole batch. */
  readonly rows: number;
  readonly rowsPerSample: number;
  readonly columns: number;
  readonly inputs: number;
  readonly dtype: WeightDType;
}

/** The kernels' WEIGHT_BITS. */
const weightBits: Readonly<Record<WeightDType, number>> = { f32: 32, f16: 16, ...quantBits };

export function linearForm(
  form: Readonly<Record<string, number>>,
  dtype: WeightDType,
  alias?: Specialisation["alias"],
): Specialisation {
  return { ...alias && { alias }, const: { ...form, WEIGHT_BITS: weightBits[dtype] } };
}

/** Of some numbers of samples of one row each that may share a read of the weight, the fitting one. */
export function sharing(counts: readonly [1, 2, 4], rows: number): number {
  return counts[Math.min(2, Math.ceil(Math.log2(rows)))]!;
}
