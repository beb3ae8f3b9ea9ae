/**
 * Every tolerance of the tests, with its reason. NMSE is the squared error over the squared
 * reference, as ggml's backend tests use it: it does not depend on the values' scale.
 */
export const tolerance = {
  /** One op in f32 against its f64 reference: only the order of f32 sums differs. */
  op: 1e-10,
  /** An op whose formula holds exp, tanh or sqrt: WGSL allows a few units in the last place. */
  opTranscendental: 1e-9,
  /** A network against diffusers' float32: both round, and errors add up over the layers. */
  module: 1e-7,
  /** Latents after eight steps with guidance, which amplifies differences. */
  trajectory: 1e-6,
  /** dB of the eight-bit image after eight steps against diffusers' image. */
  imagePsnr: 50,
  /** dB between the images of our kernels and of ONNX graphs: two orders of the same sums. */
  backendsPsnr: 45,
  /**
   * dB between images of q8_0 and of f16 weights after eight steps with guidance, 52 measured: weights
   * are off by 0.5 % of their matrix's spread (d / sqrt(12), d a 127th of a block's largest value).
   */
  q8Psnr: 45,
  /** The same of q4_0, off by 9 %: the drawing stays, shades and edges move; 26 measured. */
  q4Psnr: 20,
  /** dB of an image decoded in tiles against whole: group norms see one tile, not the image. */
  tiledPsnr: 28,
  /** Schedules and coefficients: float32 of diffusers against ours. */
  scheduler: 1e-6,
  /** torch draws with vectorised float32 log and sincos, we in f64. */
  generator: 2e-6,
} as const;

export function nmse(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity;
  let error = 0;
  let power = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = actual[i]! - expected[i]!;
    error += difference * difference;
    power += expected[i]! * expected[i]!;
  }
  return power > 0 ? error / power : error;
}

export function psnr(actual: ArrayLike<number>, expected: ArrayLike<number>, peak = 255): number {
  if (actual.length !== expected.length) return -Infinity;
  let error = 0;
  for (let i = 0; i < expected.length; i++) error += (actual[i]! - expected[i]!) ** 2;
  return error === 0 ? Infinity : 10 * Math.log10(peak * peak * expected.length / error);
}
