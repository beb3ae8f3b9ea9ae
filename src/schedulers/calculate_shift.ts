/** Fields of a scheduler's config that say how its schedule follows the image's size. */
export interface ShiftConfig {
  /** `mu` at `base_image_seq_len` tokens, and at `max_image_seq_len`. */
  readonly base_shift?: number;
  readonly max_shift?: number;
  readonly base_image_seq_len?: number;
  readonly max_image_seq_len?: number;
}

/**
 * `mu` of a dynamically shifted schedule: linear in the number of image tokens (patches). As
 * diffusers' `calculate_shift`.
 */
export function calculateShift(
  imageSeqLen: number,
  { base_shift = 0.5, max_shift = 1.15, base_image_seq_len = 256, max_image_seq_len = 4096 }:
    ShiftConfig = {},
): number {
  const slope = (max_shift - base_shift) / (max_image_seq_len - base_image_seq_len);
  return imageSeqLen * slope + (base_shift - slope * base_image_seq_len);
}
