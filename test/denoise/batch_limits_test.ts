/** The batch size that is kept: the smallest that comes close to the best time per row. */
import assert from "node:assert/strict";
import { BatchLimits } from "../../src/denoise/batch_limits.ts";

/** Runs full batches, each taking `seconds(rows)`, until the limit stays. */
function run(
  limits: BatchLimits,
  tokens: number,
  seconds: (rows: number) => number,
  turns = 100,
): number {
  for (let i = 0; i < turns; i++) {
    const images = limits.limit(tokens);
    const rows = 2 * images;
    const step = seconds(rows);
    limits.observe({ images, rows, tokens, host: 0, exposed: 0, device: step, step });
  }
  return limits.limit(tokens);
}

Deno.test("grows while a larger batch saves time and stays where it stops", () => {
  // Up to 8 rows cost the same: a device with room.
  assert.equal(run(new BatchLimits(), 64, (rows) => Math.max(8, rows)), 4);
  // Time is proportional to the rows: nothing is gained.
  assert.equal(run(new BatchLimits(), 64, (rows) => rows), 1);
  // A cost of its own for each step: every doubling pays.
  assert.equal(run(new BatchLimits({ ceiling: 8 }), 64, (rows) => 10 + rows), 8);
});

Deno.test("sizes are measured apart", () => {
  const limits = new BatchLimits();
  assert.equal(run(limits, 4096, (rows) => rows), 1);
  assert.equal(run(limits, 4, (rows) => Math.max(8, rows)), 4);
  assert.equal(limits.limit(4096), 1);
});

Deno.test("two steps reported at once are timed together", () => {
  const limits = new BatchLimits();
  let i = 0;
  assert.equal(run(limits, 64, (rows) => i++ % 2 ? 1e-6 : 2 * Math.max(8, rows)), 4);
});

Deno.test("memory bounds the batch, a fixed one too, and bounds never widen", () => {
  const limits = new BatchLimits({ ceiling: 8 });
  limits.bound(64, 2);
  limits.bound(64, 6);
  assert.equal(run(limits, 64, () => 1), 2);
  assert.equal(limits.most(64), 2);
  const fixed = new BatchLimits({ ceiling: 3, fixed: true });
  assert.equal(fixed.limit(64), 3);
  fixed.bound(64, 1);
  assert.equal(fixed.limit(64), 1);
});

Deno.test("a ceiling that is no whole number from 1 on is refused", () => {
  for (const ceiling of [0, -1, 1.5, NaN]) {
    assert.throws(() => new BatchLimits({ ceiling }), RangeError);
  }
});

Deno.test("what was settled on is heard once, and taken by a later process without measuring", () => {
  const heard: unknown[] = [];
  const options = {
    ceiling: 8,
    onSettled: (tokens: number, entry: object) => heard.push([tokens, entry]),
  };
  const limits = new BatchLimits(options);
  assert.ok(!limits.isSettled(64));
  assert.equal(run(limits, 64, (rows) => Math.max(8, rows)), 4);
  assert.ok(limits.isSettled(64));
  assert.deepEqual(heard, [[64, { images: 4, tried: 8 }]]);
  assert.deepEqual(limits.report(), [{ tokens: 64, images: 4, source: "measured" }]);

  const later = new BatchLimits({ ...options, known: () => ({ images: 4, tried: 8 }) });
  assert.ok(later.isSettled(64));
  assert.equal(run(later, 64, (rows) => rows), 4, "nothing is learnt");
  assert.equal(heard.length, 1);
  later.bound(64, 2);
  assert.equal(later.limit(64), 2, "memory bounds it still");
  assert.deepEqual(later.report(), [{ tokens: 64, images: 2, source: "cached" }]);
});

Deno.test("a size that was the largest there was memory for is no end where there is more", () => {
  const known = () => ({ images: 4, tried: 4 });
  const tight = new BatchLimits({ ceiling: 7, known });
  assert.ok(tight.isSettled(64));
  const roomy = new BatchLimits({ ceiling: 8, known });
  assert.ok(!roomy.isSettled(64));
  assert.equal(run(roomy, 64, (rows) => 10 + rows), 8);
});

Deno.test("when time is up the best size so far stays, if a larger one was no gain", () => {
  const after = (turns: number, seconds: (rows: number) => number) => {
    const limits = new BatchLimits({ ceiling: 16 });
    run(limits, 64, seconds, turns);
    limits.conclude(64);
    return [limits.limit(64), limits.isSettled(64)];
  };
  assert.deepEqual(after(3, (rows) => rows), [1, false], "nothing is timed yet");
  assert.deepEqual(after(6, (rows) => rows), [2, false], "there is nothing to compare with");
  assert.deepEqual(after(13, (rows) => rows), [1, true]);
  assert.deepEqual(after(13, (rows) => Math.max(8, rows)), [4, false], "it still grows");
  assert.deepEqual(after(26, (rows) => Math.max(4, rows)), [2, true]);
});
