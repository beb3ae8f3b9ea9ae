/** What is read from a kernel's text, and how the text is specialised. */
import assert from "node:assert/strict";
import { KernelError } from "../../src/gpu/errors.ts";
import { defineKernel, packParams, specialise } from "../../src/gpu/kernel.ts";

const source = `// A kernel.
alias Value = vec4f;
const TILE = 4u;
const FACTOR: f32 = 0.5;
override FLAG = false;

struct Params {
  count: u32, // how many: u32
  offset: i32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(2) var<storage, read_write> y: array<Value>;
@group(0) @binding(3) var<uniform> params: Params;
@group(0) @binding(4) var image: texture_2d<f32>;
@group(0)   @binding(5)   var words : texture_2d<u32>;
var<workgroup> shared_values: array<f32, 64>;
`;
const kernel = defineKernel("sample", source);

Deno.test("defineKernel reads bindings by name, slot and access", () => {
  assert.deepEqual(kernel.bindings, [
    { name: "x", index: 0, kind: "read-only-storage" },
    { name: "y", index: 2, kind: "storage" },
    { name: "params", index: 3, kind: "uniform" },
    { name: "image", index: 4, kind: "float-texture" },
    { name: "words", index: 5, kind: "uint-texture" },
  ]);
});

Deno.test("defineKernel reads the fields of Params, not its comments", () => {
  assert.deepEqual(kernel.params, [
    { name: "count", type: "u32" },
    { name: "offset", type: "i32" },
    { name: "scale", type: "f32" },
  ]);
});

Deno.test("defineKernel refuses what it cannot bind", () => {
  const text = "@group(0) @binding(0) var image: texture_storage_2d<rgba8unorm, write>;\n";
  assert.throws(() => defineKernel("odd", text), KernelError);
});

Deno.test("packParams writes field i at byte 4 i, in whole 16 bytes", () => {
  const bytes = packParams(kernel, { scale: 0.25, count: 7, offset: -2 });
  const view = new DataView(bytes.buffer);
  assert.equal(bytes.byteLength, 16);
  assert.equal(view.getUint32(0, true), 7);
  assert.equal(view.getInt32(4, true), -2);
  assert.equal(view.getFloat32(8, true), 0.25);
});

Deno.test("packParams names the field that is wrong", () => {
  const good = { scale: 0.25, count: 7, offset: -2 };
  const attempt = (values: Record<string, number>) => () => packParams(kernel, values);
  assert.throws(attempt({ count: 7, offset: 1 }), /sample: Params field scale is missing/);
  assert.throws(attempt({ ...good, scale: NaN }), /scale is missing/);
  assert.throws(attempt({ ...good, count: 1.5 }), /count is 1.5, not a u32/);
  assert.throws(attempt({ ...good, count: -1 }), /count is -1, not a u32/);
  assert.throws(attempt({ ...good, count: 2 ** 32 }), /not a u32/);
  assert.throws(attempt({ ...good, extra: 1 }), /no field extra/);
});

Deno.test("specialise replaces one alias line and one const line, keeping types", () => {
  const text = specialise(kernel, { alias: { Value: "f32" }, const: { TILE: 8, FACTOR: 2.5 } });
  assert.match(text, /^alias Value = f32;$/m);
  assert.match(text, /^const TILE = 8u;$/m);
  assert.match(text, /^const FACTOR: f32 = 2.5;$/m);
  assert.equal(specialise(kernel, {}), source);
});

Deno.test("specialise asks for f16 on the first line only where a type needs it", () => {
  const text = specialise(kernel, { alias: { Value: "vec4<f16>" } });
  assert.ok(text.startsWith("enable f16; // A kernel.\n"));
  assert.equal(text.split("\n").length, source.split("\n").length);
  assert.ok(!specialise(kernel, { alias: { Value: "vec2u" } }).includes("enable"));
});

Deno.test("specialise refuses names that no line or several lines declare", () => {
  assert.throws(() => specialise(kernel, { const: { FLAG: true } }), /FLAG: 0 lines/);
  assert.throws(() => specialise(kernel, { alias: { TILE: "f32" } }), /TILE: 0 lines/);
  const twice = defineKernel("twice", "const A = 1u;\nconst A = 2u;\n");
  assert.throws(() => specialise(twice, { const: { A: 3 } }), /A: 2 lines/);
});
