import assert from "node:assert/strict";
import { softmaxRows } from "../../src/ops/softmax_rows.ts";
import { assertClose, gpu, input, random, run } from "../gpu.ts";
import { softmaxRows as reference } from "../reference/softmax_rows.ts";
import { tolerance } from "../tolerance.ts";

for (const [rows, columns] of [[1, 1], [3, 4], [2, 63], [2, 256], [5, 260], [70, 77], [2, 16384]]) {
  Deno.test(`softmaxRows() equals its f64 reference: ${rows}x${columns}`, async () => {
    const data = random(rows! * columns!, 6, 40);
    const actual = await run((rec) =>
      softmaxRows(rec, { x: input(data, [rows!, columns!]), scale: 0.3, label: "test" })
    );
    assertClose(actual, reference(data, columns!, 0.3), tolerance.opTranscendental);
  });
}

Deno.test("softmaxRows() refuses a scale that is not positive", () => {
  const x = gpu.createTensor([2, 2], "x", "other");
  assert.throws(
    () => softmaxRows(gpu.record("test"), { x, scale: 0, label: "test" }),
    /wanted more than 0/,
  );
});
