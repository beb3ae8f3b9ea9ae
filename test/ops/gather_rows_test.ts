import assert from "node:assert/strict";
import { gatherRows } from "../../src/ops/gather_rows.ts";
import { gpu, input, random, run } from "../gpu.ts";
import { gatherRows as reference } from "../reference/gather_rows.ts";

const label = "test";

for (
  const [tokens, channels, rows] of [
    [1, 1, [0]],
    [5, 7, [4, 0]],
    [77, 64, [76, 3, 0]],
    [24, 260, [12]],
  ] as const
) {
  Deno.test(`gatherRows ${rows} of ${tokens}, ${channels} wide`, async () => {
    const x = random(rows.length * tokens * channels);
    const index = gpu.upload(Uint32Array.from(rows), [rows.length], "rows", "other");
    const actual = await run((rec) =>
      gatherRows(rec, { x: input(x, [rows.length, tokens, channels]), rows: index, label })
    );
    assert.deepEqual([...actual], reference(x, rows, tokens, channels));
  });
}

Deno.test("gatherRows wants one row for each sample", () => {
  const x = input(random(24), [2, 3, 4]);
  const rows = gpu.upload(new Uint32Array(3), [3], "eos", "other");
  assert.throws(
    () => gatherRows(gpu.record("misshapen"), { x, rows, label }),
    /rows \(eos\) is u32 \[3\], wanted u32 \[2\]/,
  );
});
