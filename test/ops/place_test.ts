import assert from "node:assert/strict";
import { place } from "../../src/ops/place.ts";
import { gpu, input, random, run } from "../gpu.ts";
import { place as reference } from "../reference/place.ts";

const label = "test";

for (
  const [shape, intoShape, row, column] of [
    [[1, 1, 1], [1, 1, 1], 0, 0],
    [[2, 3, 8], [2, 7, 20], 4, 12],
    [[2, 3, 8], [2, 7, 20], 0, 5],
    [[3, 5, 7], [3, 5, 9], 0, 2],
    [[1, 77, 768], [1, 333, 4096], 0, 0],
  ] as const
) {
  Deno.test(`place [${shape}] into [${intoShape}] at ${row}, ${column}`, async () => {
    const x = random(shape.reduce<number>((a, b) => a * b, 1), 1);
    const into = random(intoShape.reduce<number>((a, b) => a * b, 1), 2);
    const actual = await run((rec) =>
      place(rec, {
        x: input(x, [...shape]),
        into: input(into, [...intoShape]),
        row,
        column,
        label,
      })
    );
    assert.deepEqual([...actual], reference(x, shape, into, intoShape, row, column));
  });
}

Deno.test("place refuses what does not fit", () => {
  const x = input(random(16), [1, 4, 4]);
  const into = input(random(32), [1, 4, 8]);
  for (const [row, column] of [[1, 0], [0, 5], [-1, 0]] as const) {
    assert.throws(
      () => place(gpu.record("misshapen"), { x, into, row, column, label }),
      /does not fit into \[1,4,8\]/,
    );
  }
});
