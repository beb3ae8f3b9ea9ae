import assert from "node:assert/strict";
import { betaQuantile, regularizedIncompleteBeta } from "../../src/schedulers/beta_quantile.ts";

// scipy 1.17.1: scipy.stats.beta.ppf(probability, alpha, beta).
// deno-fmt-ignore
const reference: [probability: number, alpha: number, beta: number, quantile: number][] = [
  [1e-12, 0.6, 0.6, 1.8558824624914097e-20], [1e-6, 0.6, 0.6, 1.8558824624053043e-10],
  [0.001, 0.6, 0.6, 1.855873851745199e-05], [0.037, 0.6, 0.6, 0.007610119972187763],
  [0.25, 0.6, 0.6, 0.17568037865269498], [0.5, 0.6, 0.6, 0.5000000000000001],
  [0.75, 0.6, 0.6, 0.824319621347305], [0.963, 0.6, 0.6, 0.9923898800278123],
  [0.999, 0.6, 0.6, 0.9999814412614826], [0.999999999, 0.6, 0.6, 0.9999999999999981],
  [1e-6, 2, 5, 0.00025828782935406356], [0.25, 2, 5, 0.16116291679032652],
  [0.963, 2, 5, 0.6089203760289366], [0.999999999, 2, 5, 0.9889037391360324],
  [0.037, 0.5, 3.3, 0.000351553932783608], [0.75, 0.5, 3.3, 0.1941889398533478],
  [0.001, 9, 1, 0.4641588833612779], [0.5, 9, 1, 0.9258747122872905],
];

Deno.test("the beta quantile equals scipy's", () => {
  for (const [probability, alpha, beta, quantile] of reference) {
    const actual = betaQuantile(probability, alpha, beta);
    assert.ok(
      Math.abs(actual - quantile) <= 1e-11 * quantile,
      `ppf(${probability}, ${alpha}, ${beta}) is ${quantile}, not ${actual}`,
    );
  }
});

Deno.test("the quantile inverts the distribution and keeps its ends", () => {
  for (let i = 0; i <= 50; i++) {
    const quantile = betaQuantile(i / 50, 0.6, 0.6);
    assert.ok(Math.abs(regularizedIncompleteBeta(quantile, 0.6, 0.6) - i / 50) < 1e-12);
  }
  assert.equal(betaQuantile(0, 0.6, 0.6), 0);
  assert.equal(betaQuantile(1, 0.6, 0.6), 1);
});

Deno.test("values outside the distribution are refused", () => {
  for (const probability of [-0.1, 1.1, NaN]) {
    assert.throws(() => betaQuantile(probability, 1, 1), RangeError);
  }
  assert.throws(() => betaQuantile(0.5, 0, 1), RangeError);
});
