/** What weights become in GPU memory, as a user says it. */

/**
 * "auto": as narrow as stored (f16 for F16, BF16 within f16's range, and float8; else f32).
 * "f32": everything as f32.
 * "q8_0", "q4_0": large matrices to multiply with as blocks of 8-bit or 4-bit integers, unless their
 * values are too large for that; the rest as "auto".
 */
export const weightTypes = ["auto", "f32", "q8_0", "q4_0"] as const;
export type WeightType = (typeof weightTypes)[number];
