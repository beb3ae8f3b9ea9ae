/// <reference lib="deno.unstable" />
/** The rules of style find every dialect but ours. */
import assert from "node:assert/strict";
import plugin from "./mod.ts";

const ids = (source: string, path = "src/ops/x.ts") =>
  Deno.lint.runPlugin(plugin, path, source).map((diagnostic) => diagnostic.id);

Deno.test("throws-in-braces finds the other ways to say what is thrown", () => {
  const found = ["house/throws-in-braces"];
  assert.deepEqual(ids("/** @throws RangeError when x is negative */"), found);
  assert.deepEqual(ids("/** @throws what `open` threw */"), found);
  assert.deepEqual(ids("/**\n * The root.\n * Throws RangeError if x is negative.\n */"), found);
  assert.deepEqual(ids("/** The root. Throws RangeError if x is negative. */"), found);
  assert.deepEqual(ids("/** The root; throws a RangeError if x is negative. */"), found);
  assert.deepEqual(ids("/** @throws {RangeError} when x is negative */"), []);
  assert.deepEqual(ids("/** @throws {A | Deno.errors.B} when x is negative */"), []);
  assert.deepEqual(ids("// Throws away what is left."), []);
});

Deno.test("constant-case finds shouting in a module, not in a kernel's parameters", () => {
  const found = ["house/constant-case"];
  assert.deepEqual(ids("const MAX_IMAGES = 300;"), found);
  assert.deepEqual(ids("export const NAME: string = a;"), found);
  assert.deepEqual(ids("const maxImages = 300; const Schema = z.object({});"), []);
  assert.deepEqual(ids("const constants = { TILE_M: 4 };"), []);
});

Deno.test("hash-private finds TypeScript's own privacy", () => {
  const found = ["house/hash-private"];
  assert.deepEqual(ids("class A { private x = 1; }"), found);
  assert.deepEqual(ids("class A { private readonly f = () => {}; }"), found);
  assert.deepEqual(ids("class A { constructor(private readonly x: number) {} }"), found);
  assert.deepEqual(ids("class A { #x = 1; protected y = 2; private constructor() {} }"), []);
  assert.deepEqual(ids("class A { private x = 1; }", "test/x.ts"), []);
  assert.deepEqual(ids("class A { private x = 1; }", "src/schedulers/x.ts"), []);
  assert.deepEqual(ids("class A { private f() {} }", "src/schedulers/x.ts"), found);
});

Deno.test("error-message finds the other forms, also in templates and sums", () => {
  const found = ["house/error-message"];
  assert.deepEqual(ids('throw new Error("The queue is full.");'), found);
  assert.deepEqual(ids('throw new TypeError("the schedule is empty");'), found);
  assert.deepEqual(ids("throw new RangeError(`steps must be whole, got ${n}`);"), found);
  assert.deepEqual(ids("throw new TypeError(`x is [${x}]: want ` + `[${y}]`);"), found);
  assert.deepEqual(ids('throw new RunError("failed", "Something broke.");'), found);
  assert.deepEqual(ids("throw new RangeError(`steps must be whole, not ${n}`);"), []);
  assert.deepEqual(ids("throw new TypeError(`${label}: x is [${x}], wanted [${y}]`);"), []);
  assert.deepEqual(ids('throw new HttpError(404, "not_found_error", "There is none", {});'), []);
  assert.deepEqual(ids('throw new Error("Loading, and so on ...");'), []);
  assert.deepEqual(ids('throw new FileReadError(name, path, "the answer is empty");'), []);
  assert.deepEqual(ids("throw new Error(text);"), []);
});
