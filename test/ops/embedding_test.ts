import assert from "node:assert/strict";
import { embedding } from "../../src/ops/embedding.ts";
import type { Matrix } from "../../src/ops/support/matrix.ts";
import { assertClose, gpu, input, matrix, random, run } from "../gpu.ts";
import { embedding as reference } from "../reference/embedding.ts";
import { tolerance } from "../tolerance.ts";

const label = "test";

/** A table cut into parts after the given rows. */
function table(rows: number, channels: number, dtype: "f32" | "f16", cuts: readonly number[] = []) {
  const data = random(rows * channels, rows);
  const values = new Float32Array(data.length);
  const ends = [...cuts, rows];
  const parts = ends.map((end, i) => {
    const rowStart = ends[i - 1] ?? 0;
    const part = matrix(
      data.slice(rowStart * channels, end * channels),
      [end - rowStart, channels],
      dtype,
    );
    values.set(part.values, rowStart * channels);
    return { tensor: part.tensor, rowStart, rows: end - rowStart };
  });
  const whole: Matrix = { shape: [rows, channels], parts };
  return { whole, values };
}

for (const dtype of ["f32", "f16"] as const) {
  for (const positionType of [undefined, "f32", "f16"] as const) {
    for (
      const [batch, tokens, channels, rows, cuts] of [
        [1, 1, 4, 1, []],
        [2, 7, 12, 30, []],
        [3, 24, 192, 64, []],
        [2, 9, 68, 40, [11, 29]],
      ] as const
    ) {
      const name = `embedding ${dtype} [${rows}, ${channels}] in ${cuts.length + 1} parts, ` +
        `${batch} x ${tokens} tokens, positions ${positionType ?? "absent"}`;
      Deno.test(name, async () => {
        const { whole, values } = table(rows, channels, dtype, cuts);
        const positions = positionType && table(tokens + 2, channels, positionType);
        const ids = Uint32Array.from(
          random(batch * tokens, 9),
          (v) => Math.floor((v + 1) / 2 * rows),
        );
        const tensor = gpu.upload(ids, [batch, tokens], "ids", "other");
        const actual = await run((rec) =>
          embedding(rec, { ids: tensor, table: whole, positions: positions?.whole, label })
        );
        const expected = reference(ids, tokens, channels, values, positions?.values);
        assertClose(actual, expected, tolerance.op);
      });
    }
  }
}

Deno.test("embedding reads the first and the last row of each part", async () => {
  const { whole, values } = table(12, 8, "f16", [4, 8]);
  const ids = Uint32Array.of(0, 3, 4, 7, 8, 11);
  const tensor = gpu.upload(ids, [1, 6], "ids", "other");
  const actual = await run((rec) => embedding(rec, { ids: tensor, table: whole, label }));
  assert.deepEqual([...actual], [...reference(ids, 6, 8, values)]);
});

Deno.test("embedding names a misshapen tensor", () => {
  const rec = gpu.record("misshapen");
  const ids = gpu.upload(new Uint32Array(4), [1, 4], "ids", "other");
  const { whole } = table(4, 8, "f32");
  const positions = table(3, 8, "f32").whole;
  assert.throws(
    () => embedding(rec, { ids: input(random(4), [1, 4]), table: whole, label }),
    /ids .* wanted u32/,
  );
  assert.throws(
    () => embedding(rec, { ids, table: whole, positions, label }),
    /positions \[3,8\] in 1 parts, wanted \[4 or more, 8\]/,
  );
  assert.throws(
    () => embedding(rec, { ids, table: table(4, 6, "f32").whole, label }),
    /table is f32 \[4,6\]/,
  );
});
