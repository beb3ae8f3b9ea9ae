import assert from "node:assert/strict";
import { croppedPositions } from "../../src/ops/cropped_positions.ts";
import { gpu, matrix, random, run } from "../gpu.ts";
import { croppedPositions as reference } from "../reference/cropped_positions.ts";

const label = "test";

for (const dtype of ["f32", "f16"] as const) {
  for (
    const [maxSize, channels, height, width, batch, cut] of [
      [1, 4, 1, 1, 1, 0],
      [9, 12, 9, 9, 1, 0],
      [9, 12, 4, 7, 2, 0],
      [12, 68, 5, 12, 3, 61],
      [32, 192, 17, 8, 1, 0],
    ] as const
  ) {
    const name = `croppedPositions ${dtype} ${height} x ${width} of ${maxSize}, ${channels} wide`;
    Deno.test(`${name}, ${cut ? 2 : 1} parts`, async () => {
      const rows = maxSize * maxSize;
      const data = random(rows * channels, 3);
      const ends = cut ? [cut, rows] : [rows];
      const values: number[] = [];
      const parts = ends.map((end, i) => {
        const rowStart = ends[i - 1] ?? 0;
        const slice = data.slice(rowStart * channels, end * channels);
        const part = matrix(slice, [end - rowStart, channels], dtype);
        for (const value of part.values) values.push(value);
        return { tensor: part.tensor, rowStart, rows: end - rowStart };
      });
      const table = { shape: [rows, channels], parts };
      const actual = await run((rec) =>
        croppedPositions(rec, { table, maxSize, height, width, batch, label })
      );
      assert.deepEqual([...actual], reference(values, maxSize, height, width, batch));
    });
  }
}

Deno.test("croppedPositions refuses more positions than the table has", () => {
  const { tensor } = matrix(random(36), [9, 4], "f32");
  const table = { shape: [9, 4], parts: [{ tensor, rowStart: 0, rows: 9 }] };
  assert.throws(
    () =>
      croppedPositions(gpu.record("misshapen"), {
        table,
        maxSize: 3,
        height: 4,
        width: 1,
        batch: 1,
        label,
      }),
    /3 x 3 positions cannot give 4 x 1/,
  );
});
