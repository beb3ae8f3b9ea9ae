/**
 * Quantile of the beta distribution, as scipy.stats.beta.ppf: the x in [0, 1] at which the
 * regularised incomplete beta function I_x(alpha, beta) is `probability`. Accurate to 1e-12 for the
 * shapes that schedules use (both about 0.6).
 *
 * @throws {RangeError} if `probability` is outside [0, 1] or a shape is not positive
 */
export function betaQuantile(probability: number, alpha: number, beta: number): number {
  if (!(probability >= 0 && probability <= 1)) {
    throw new RangeError(`probability must lie in [0, 1], not ${probability}`);
  }
  if (!(alpha > 0 && beta > 0)) throw new RangeError("The beta shapes must be positive");
  if (probability === 0 || probability === 1) return probability;
  // Bisection in the logarithm of the nearer end, since the quantile may lie very close to it.
  if (probability > regularizedIncompleteBeta(0.5, alpha, beta)) {
    return 1 - betaQuantileBelowHalf(1 - probability, beta, alpha);
  }
  return betaQuantileBelowHalf(probability, alpha, beta);
}

function betaQuantileBelowHalf(probability: number, alpha: number, beta: number): number {
  let low = Math.log(Number.MIN_VALUE);
  let high = Math.log(0.5);
  for (let i = 0; i < 200 && high - low > 1e-16 * Math.abs(low); i++) {
    const middle = (low + high) / 2;
    if (middle === low || middle === high) break;
    if (regularizedIncompleteBeta(Math.exp(middle), alpha, beta) < probability) low = middle;
    else high = middle;
  }
  return Math.exp((low + high) / 2);
}

/** I_x(alpha, beta) by Lentz's continued fraction (DLMF 8.17.22). */
export function regularizedIncompleteBeta(x: number, alpha: number, beta: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  // The fraction converges fast below the mean; above it the mirrored one does.
  if (x > (alpha + 1) / (alpha + beta + 2)) {
    return 1 - regularizedIncompleteBeta(1 - x, beta, alpha);
  }
  const front = Math.exp(
    alpha * Math.log(x) + beta * Math.log1p(-x) +
      logGamma(alpha + beta) - logGamma(alpha) - logGamma(beta),
  ) / alpha;
  let c = 1;
  let d = 0;
  let fraction = 1;
  for (let i = 0; i <= 500; i++) {
    const m = Math.floor(i / 2);
    const numerator = i === 0
      ? 1
      : i % 2 === 0
      ? m * (beta - m) * x / ((alpha + 2 * m - 1) * (alpha + 2 * m))
      : -(alpha + m) * (alpha + beta + m) * x / ((alpha + 2 * m) * (alpha + 2 * m + 1));
    d = 1 / nonZero(1 + numerator * d);
    c = nonZero(1 + numerator / c);
    fraction *= c * d;
    if (Math.abs(1 - c * d) < 1e-16) break;
  }
  return front * (fraction - 1);
}

const nonZero = (value: number): number => Math.abs(value) < 1e-300 ? 1e-300 : value;

// Lanczos' approximation with g = 7 and nine terms (Godfrey's coefficients).
const lanczos = [
  0.99999999999980993,
  676.5203681218851,
  -1259.1392167224028,
  771.32342877765313,
  -176.61502916214059,
  12.507343278686905,
  -0.13857109526572012,
  9.9843695780195716e-6,
  1.5056327351493116e-7,
];

function logGamma(x: number): number {
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
  const z = x - 1;
  const t = z + 7.5;
  const series = lanczos.reduce((sum, term, i) => i === 0 ? term : sum + term / (z + i), 0);
  return 0.5 * Math.log(2 * Math.PI) + (z + 0.5) * Math.log(t) - t + Math.log(series);
}
