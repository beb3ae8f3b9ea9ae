/**
 * A schedule as plain data: for every evaluation of the network, what the model is told and which sums
 * of tensors follow from its output. With at most four tensors kept from earlier evaluations this
 * carries every sampler in use (s: sigma, s': the next one, v: output, x0 = x - s v, n: noise):
 *
 * - Euler: x + (s' - s) v. Euler ancestral and LCM: a x + b v + c n.
 * - Heun, two evaluations: x + d v, keeping h = x + d/2 v; then h + d/2 v.
 * - DPM++ 2M, with or without noise: a x + b v + c h, keeping h = x0; order 3 keeps one x0 more.
 * - DPM++ 2S ancestral and SDE, two evaluations: the midpoint, keeping x and x0; then all of them.
 * - UniPC corrects first: its corrected sample is a sum of x, v, the corrected sample before and up
 *   to three x0, and is kept; the next sample is a sum of the same tensors.
 */

/** A sum of tensors, each times a number. What is absent or times 0 is not read. */
export interface Combination {
  readonly sample: number;
  /** Of the model's output, guidance included. */
  readonly velocity: number;
  /** Of fresh standard normal noise. */
  readonly noise?: number | undefined;
  /** Of the kept tensors, by slot. */
  readonly kept?: readonly number[] | undefined;
}

/** One evaluation of the network and what it moves. */
export interface Step {
  /** What the model is told, in units of training timesteps. */
  readonly timestep: number;
  /** Noise level before, and after. */
  readonly sigma: number;
  readonly nextSigma: number;
  /** The sample that the next evaluation sees, or the result. */
  readonly next: Combination;
  /** What slot k holds afterwards, as a sum of what there was before; the slots beyond stay. */
  readonly keep?: readonly Combination[] | undefined;
}

/** Tensors that a schedule keeps. */
export function keptBy(steps: readonly Step[]): number {
  return Math.max(0, ...steps.map(({ keep = [] }) => keep.length));
}

/** Whether a step is a sum of the sample and the output, and keeps nothing. */
export function isPlain({ next, keep = [] }: Step): boolean {
  return !next.noise && !next.kept?.some((factor) => factor !== 0) && keep.length === 0;
}

/** Whether any of a step's sums has noise in it. */
export function drawsNoise({ next, keep = [] }: Step): boolean {
  return [next, ...keep].some(({ noise = 0 }) => noise !== 0);
}

/** The tensors that a step reads, as numbers of one length. */
export interface Tensors {
  readonly sample: ArrayLike<number>;
  readonly velocity: ArrayLike<number>;
  readonly noise?: ArrayLike<number> | undefined;
  readonly kept: readonly ArrayLike<number>[];
}

/** The sum in float32, rounded after every product and addition as torch does. */
export function combine(sum: Combination, tensors: Tensors): Float32Array<ArrayBuffer> {
  const { sample, velocity, noise, kept = [] } = sum;
  const result = new Float32Array(tensors.sample.length);
  const add = (factor = 0, values: ArrayLike<number> | undefined) => {
    if (factor === 0) return;
    for (let i = 0; i < result.length; i++) result[i]! += Math.fround(factor * values![i]!);
  };
  add(sample, tensors.sample);
  add(velocity, tensors.velocity);
  add(noise, tensors.noise);
  for (const [slot, factor] of kept.entries()) add(factor, tensors.kept[slot]);
  return result;
}
