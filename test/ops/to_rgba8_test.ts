import assert from "node:assert/strict";
import { toRgba8 } from "../../src/ops/to_rgba8.ts";
import { gpu, input, random, run } from "../gpu.ts";
import { toRgba8 as reference } from "../reference/to_rgba8.ts";

async function words(data: Float32Array<ArrayBuffer>, shape: number[]): Promise<Uint32Array> {
  const { buffer } = await run((rec) => toRgba8(rec, { x: input(data, shape), label: "test" }));
  return new Uint32Array(buffer, 0, data.length / 3);
}

for (const shape of [[1, 1, 1, 3], [2, 5, 7, 3], [1, 64, 65, 3], [3, 16, 16, 3]]) {
  Deno.test(`toRgba8 [${shape}]`, async () => {
    const x = random(shape.reduce((a, b) => a * b), 1, 1.3);
    assert.deepEqual(await words(x, shape), reference(x));
  });
}

Deno.test("toRgba8 takes halves to the even neighbour and clamps", async () => {
  // 0.5 and 2.5 of 255 round down, 1.5 and 254.5 to the even neighbour.
  const levels = [0.5, 1.5, 2.5, 253.5, 254.5, -9, 300, 127.5, 0];
  const x = Float32Array.from(levels, (level) => level / 255 * 2 - 1);
  const expected = reference(x);
  assert.deepEqual(await words(x, [1, 1, 3, 3]), expected);
  assert.equal(expected[1]! >>> 8 & 255, 254);
  assert.equal(expected[1]! >>> 16 & 255, 0);
  assert.equal(expected[2]! & 255, 255);
});

Deno.test("toRgba8 wants three channels", () => {
  const x = input(random(16), [1, 2, 2, 4]);
  assert.throws(() => toRgba8(gpu.record("misshapen"), { x, label: "test" }), /any,any,any,3/);
});
