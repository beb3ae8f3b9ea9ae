import assert from "node:assert/strict";
import { gatedGelu } from "../../src/ops/gated_gelu.ts";
import { assertClose, gpu, input, random, run } from "../gpu.ts";
import { gatedGelu as reference } from "../reference/gated_gelu.ts";
import { tolerance } from "../tolerance.ts";

const label = "test";

for (const shape of [[1, 8], [3, 5, 120], [2, 64, 512], [2, 3, 20480]]) {
  Deno.test(`gatedGelu [${shape}]`, async () => {
    const x = random(shape.reduce((a, b) => a * b), 1, 5);
    const actual = await run((rec) => gatedGelu(rec, { x: input(x, shape), label }));
    assertClose(actual, reference(x, shape.at(-1)! / 2), tolerance.opTranscendental);
  });
}

Deno.test("gatedGelu of a row does not depend on the rows around it", async () => {
  const x = random(3 * 24, 1, 5);
  const of = (data: Float32Array<ArrayBuffer>, rows: number) =>
    run((rec) => gatedGelu(rec, { x: input(data, [rows, 24]), label }));
  const together = await of(x, 3);
  assert.deepEqual(await of(x.slice(24, 48), 1), together.slice(12, 24));
});

Deno.test("gatedGelu refuses a width without two halves of 4n", () => {
  const x = input(random(24), [2, 12], "wi");
  assert.throws(() => gatedGelu(gpu.record("misshapen"), { x, label }), /x \(wi\) is \[2,12\]/);
});
