import assert from "node:assert/strict";
import { type Grid, pieces } from "../../src/gpu/grid.ts";

Deno.test("a grid within the limit is one dispatch, and an empty one is none", () => {
  assert.deepEqual([...pieces([65535, 2], 65535)], [{ origin: [0, 0, 0], size: [65535, 2, 1] }]);
  assert.deepEqual([...pieces([0], 65535)], []);
  assert.deepEqual([...pieces([3, 0, 3], 2)], []);
});

Deno.test("24 adaLN modulations at once are cut where the device's limit lies", () => {
  assert.deepEqual([...pieces([1, 124800], 65535)], [
    { origin: [0, 0, 0], size: [1, 65535, 1] },
    { origin: [0, 65535, 0], size: [1, 59265, 1] },
  ]);
});

Deno.test("the pieces hold every workgroup once", () => {
  for (const grid of [[7], [7, 5], [1, 6, 4], [3, 3, 3]] as Grid[]) {
    const seen = new Set<string>();
    for (const { origin, size } of pieces(grid, 3)) {
      assert.ok(size.every((n) => n > 0 && n <= 3));
      for (let z = 0; z < size[2]; z++) {
        for (let y = 0; y < size[1]; y++) {
          for (let x = 0; x < size[0]; x++) {
            const at = `${[origin[0] + x, origin[1] + y, origin[2] + z]}`;
            assert.ok(!seen.has(at), at);
            seen.add(at);
          }
        }
      }
    }
    const [x, y = 1, z = 1] = grid;
    assert.equal(seen.size, x * y * z);
  }
});
