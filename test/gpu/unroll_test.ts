/** Expansion of marked loops, in text and in what the expanded kernel computes. */
import assert from "node:assert/strict";
import { defineKernel, type Specialisation } from "../../src/gpu/kernel.ts";
import { unroll } from "../../src/gpu/unroll.ts";
import { gpu } from "../gpu.ts";

const squeeze = (text: string) => text.replace(/\s+/g, " ").trim();

Deno.test("unroll makes a constant of the loop's variable in each copy", () => {
  const text = "for (var i = 0u; i < 3u; i++) { // unroll\n  a[i] = i;\n}\n";
  assert.equal(
    squeeze(unroll(text)),
    "{ const i = 0u; a[i] = i; } { const i = 1u; a[i] = i; } { const i = 2u; a[i] = i; }",
  );
});

Deno.test("unroll leaves loops without the mark alone", () => {
  const text = "for (var i = 0u; i < 3u; i++) {\n  a[i] = i;\n}\n";
  assert.equal(unroll(text), text);
});

Deno.test("unroll evaluates bounds, firsts and steps from constants", () => {
  const cases: [loop: string, values: number[]][] = [
    ["var i = 0u; i < N; i++", [0, 1, 2, 3]],
    ["var i = 1u; i < N / 2u + 1u; i++", [1, 2]],
    ["var i = N - 1u; i < 2u * (N - 1u); i++", [3, 4, 5]],
    ["var i = 0u; i < N * M; i += M", [0, 3, 6, 9]],
    ["var i = 0u; i < 0u; i++", []],
    ["var i = 0u; i < DOUBLE; i += 4u", [0, 4]],
  ];
  const constants = "const N = 4u;\nconst M: u32 = 3u;\nconst DOUBLE = 2u * N;\n";
  for (const [loop, values] of cases) {
    const text = unroll(`${constants}for (${loop}) { // unroll\n  use(i);\n}\n`);
    assert.deepEqual(
      [...text.matchAll(/const i = (\d+)u;/g)].map((m) => Number(m[1])),
      values,
      loop,
    );
  }
});

Deno.test("unroll expands nested loops, unmarked ones between them included", () => {
  const text = `for (var i = 0u; i < 2u; i++) { // unroll
  for (var k = 0u; k < n; k++) {
    for (var j = 0u; j < 2u; j++) { // unroll
      if (i < j) { a[i][j] += k; }
    }
  }
}
`;
  const expanded = unroll(text);
  assert.equal(expanded.match(/a\[i\]\[j\] \+= k;/g)?.length, 4);
  assert.equal(expanded.match(/for \(var k/g)?.length, 2);
  assert.equal(expanded.match(/\{/g)?.length, expanded.match(/\}/g)?.length);
});

Deno.test("unroll refuses a bound that is not constant", () => {
  const text = "for (var i = 0u; i < params_count; i++) { // unroll\n  a[i] = i;\n}\n";
  assert.throws(() => unroll(text), /params_count is not a constant/);
});

const source = `const ROWS = 3u;
const COLUMNS = 2u * ROWS;
@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(1)
fn main() {
  var tile: array<array<u32, COLUMNS>, ROWS>;
  for (var i = 0u; i < ROWS; i++) { // unroll
    for (var j = 0u; j < COLUMNS; j += 2u) { // unroll
      tile[i][j] = 10u * i + j;
      tile[i][j + 1u] = 100u;
    }
  }
  for (var i = 0u; i < ROWS; i++) { // unroll
    for (var j = 0u; j < COLUMNS; j++) { // unroll
      y[i * COLUMNS + j] = tile[i][j];
    }
  }
}
`;

async function words(text: string, count: number, form: Specialisation): Promise<number[]> {
  const y = gpu.createTensor([count], "y", "other", "u32");
  const rec = gpu.record("unroll");
  const kernel = defineKernel("unroll", text);
  rec.dispatch({ label: "unroll", kernel, specialise: form, bindings: { y }, grid: [1, 1, 1] });
  const program = await rec.finish();
  await gpu.run(program);
  const values = [...new Uint32Array(await gpu.readBytes(y), 0, count)];
  program.dispose();
  gpu.destroyTensor(y);
  return values;
}

for (const ROWS of [1, 3, 4]) {
  Deno.test(`an unrolled kernel computes what the file says, ${ROWS} rows`, async () => {
    const form = { const: { ROWS } };
    const count = 2 * ROWS * ROWS;
    const rolled = await words(source.replaceAll("// unroll", ""), count, form);
    const expected = Array.from({ length: count }, (_, at) => {
      const [i, j] = [Math.floor(at / (2 * ROWS)), at % (2 * ROWS)];
      return j % 2 === 1 ? 100 : 10 * i + j;
    });
    assert.deepEqual(rolled, expected);
    assert.deepEqual(await words(source, count, form), expected);
  });
}
