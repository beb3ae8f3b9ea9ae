/// <reference lib="deno.unstable" />
/** The house's lint rules find what they are for, and nothing where it is allowed. */
import assert from "node:assert/strict";
import plugin from "./mod.ts";

const ids = (path: string, source: string) =>
  Deno.lint.runPlugin(plugin, path, source).map((diagnostic) => diagnostic.id);

Deno.test("kernels-in-files finds WGSL in strings and templates", () => {
  const found = ["house/kernels-in-files"];
  assert.deepEqual(ids("src/ops/x.ts", 'const a = "@compute @workgroup_size(1)";'), found);
  const template = "const a = `@group(0) var<storage, read> ${name}: u32;`;";
  assert.deepEqual(ids("src/ops/x.ts", template), found);
  assert.deepEqual(ids("test/gpu/x.ts", template), []);
  assert.deepEqual(ids("src/ops/x.ts", 'const a = "storage of computed things";'), []);
});

Deno.test("gpu-objects finds shader modules and unaccounted buffers", () => {
  const found = ["house/gpu-objects"];
  assert.deepEqual(ids("src/ops/x.ts", "device.createShaderModule({ code });"), found);
  assert.deepEqual(ids("src/ops/x.ts", "gpu.device.createBuffer({ size, usage });"), found);
  assert.deepEqual(ids("src/weights/x.ts", "gpu.createBuffer({ label, size, owner });"), []);
  assert.deepEqual(ids("src/gpu/x.ts", "this.device.createBuffer({ size, usage });"), []);
});

Deno.test("deno-at-the-edges finds Deno and node: imports in the core", () => {
  const found = ["house/deno-at-the-edges"];
  const reading = "await Deno.readFile(path);";
  assert.deepEqual(ids("src/pipeline/x.ts", reading), found);
  assert.deepEqual(ids("src/image/x.ts", 'import { Buffer } from "node:buffer";'), found);
  assert.deepEqual(ids("src/pipeline/x.ts", 'const name = "Deno.inspect";'), []);
  for (const edge of ["cli.ts", "src/http/app.ts", "src/weights/deno_source.ts", "test/x.ts"]) {
    assert.deepEqual(ids(edge, reading), [], edge);
  }
});

Deno.test("errors-in-errors-ts finds error classes that lie elsewhere", () => {
  const found = ["house/errors-in-errors-ts"];
  const source = "export class AError extends Error {}";
  assert.deepEqual(ids("src/gpu/x.ts", source), found);
  assert.deepEqual(ids("src/gpu/x.ts", "class BError extends AError {}"), found);
  assert.deepEqual(ids("src/gpu/errors.ts", source), []);
  assert.deepEqual(ids("test/gpu/x.ts", source), []);
});

Deno.test("no-url-pathname finds paths made of file: URLs", () => {
  const found = ["house/no-url-pathname"];
  assert.deepEqual(ids("test/x.ts", 'new URL("../a", import.meta.url).pathname;'), found);
  assert.deepEqual(ids("test/x.ts", "here.pathname;"), found);
  assert.deepEqual(ids("test/x.ts", "new URL(answer.url).pathname;"), []);
  assert.deepEqual(ids("src/web/x.ts", "location.pathname;"), []);
});
