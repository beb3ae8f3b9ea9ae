/**
 * `mu` of a dynamically shifted schedule: linear in the number of image tokens (patches), through
 * `baseShift` at `baseSeqLen` and `maxShift` at `maxSeqLen`. As diffusers' `calculate_shift`.
 */
export function calculateShift(
  imageSeqLen: number,
  { baseSeqLen = 256, maxSeqLen = 4096, baseShift = 0.5, maxShift = 1.15 }: {
    readonly baseSeqLen?: number;
    readonly maxSeqLen?: number;
    readonly baseShift?: number;
    readonly maxShift?: number;
  } = {},
): number {
  const slope = (maxShift - baseShift) / (maxSeqLen - baseSeqLen);
  return imageSeqLen * slope + (baseShift - slope * baseSeqLen);
}
