import assert from "node:assert/strict";
import { frequencies, timestepEmbedding } from "../../src/ops/timestep_embedding.ts";
import { assertClose, gpu, input, random, run } from "../gpu.ts";
import { timestepEmbedding as reference } from "../reference/timestep_embedding.ts";
import { tolerance } from "../tolerance.ts";

const label = "test";

for (const dim of [2, 6, 64, 256]) {
  for (const batch of [1, 3, 29]) {
    Deno.test(`timestepEmbedding of ${batch} timesteps, dim ${dim}`, async () => {
      const timesteps = random(batch, dim, 500).map((v) => v + 500);
      timesteps[0] = 1000;
      const actual = await run((rec) =>
        timestepEmbedding(rec, { timesteps: input(timesteps, [batch]), dim, label })
      );
      assertClose(actual, reference(timesteps, frequencies(dim / 2)), tolerance.op);
    });
  }
}

Deno.test("timestepEmbedding is good to 2e-7 at every angle up to 1000", async () => {
  const timesteps = Float32Array.from({ length: 4001 }, (_, i) => i / 4);
  const actual = await run((rec) =>
    timestepEmbedding(rec, { timesteps: input(timesteps, [4001]), dim: 2, label })
  );
  const expected = reference(timesteps, [1]);
  for (const [i, value] of actual.entries()) {
    assert.ok(Math.abs(value - expected[i]!) < 2e-7, `${timesteps[i >> 1]}: ${value}`);
  }
});

Deno.test("frequencies fall from 1 towards 1 / 10000", () => {
  const values = frequencies(128);
  assert.equal(values[0], 1);
  for (const [i, value] of values.entries()) {
    const exact = 10000 ** (-i / 128);
    assert.ok(Math.abs(value / exact - 1) < 1e-6, `${i}: ${value} for ${exact}`);
  }
});

Deno.test("timestepEmbedding refuses an odd dim", () => {
  const timesteps = input(random(1), [1]);
  assert.throws(
    () => timestepEmbedding(gpu.record("misshapen"), { timesteps, dim: 5, label }),
    /dim is 5, wanted even/,
  );
});
