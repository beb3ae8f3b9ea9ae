/** Activations' memory: reuse in a program, growth under older programs, and the ledger. */
import assert from "node:assert/strict";
import { prepareAdapter } from "../../adapter.ts";
import { KernelError } from "../../src/gpu/errors.ts";
import { openGpu } from "../../src/gpu/device.ts";
import type { Recorder } from "../../src/gpu/program.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";
import { add } from "../../src/ops/add.ts";
import { fill } from "../../src/ops/fill.ts";

prepareAdapter();
// A device of its own: what the arena holds is this file's alone.
const gpu = await openGpu();

Deno.test("a released activation's memory serves the next one, a kept one's does not", async () => {
  const rec = gpu.record("reuse");
  const kept = rec.alloc([64], "kept");
  const first = rec.alloc([64], "first");
  rec.release(first);
  const second = rec.alloc([64], "second");
  assert.equal(second.storage, first.storage);
  assert.notEqual(second.storage, kept.storage);
  (await rec.finish()).dispose();
});

Deno.test("programs lie over the same memory", async () => {
  const bytes = async () => {
    const rec = gpu.record("overlay");
    for (let i = 0; i < 3; i++) rec.alloc([1024], `${i}`);
    (await rec.finish()).dispose();
    return gpu.arena.bytes;
  };
  const once = await bytes();
  assert.equal(await bytes(), once);
});

Deno.test("an activation is released once, and only by its program", async () => {
  const rec = gpu.record("release");
  const x = rec.alloc([4], "x");
  rec.release(x);
  assert.throws(() => rec.release(x), KernelError);
  const own = gpu.createTensor([4], "own", "other");
  assert.throws(() => rec.release(own), /own: Released twice, or not an activation/);
  gpu.destroyTensor(own);
  (await rec.finish()).dispose();
});

/** sum = 1 + 2, in activations of this size. */
function onePlusTwo(rec: Recorder, count: number): Tensor {
  const one = fill(rec, { into: rec.alloc([count], "one"), value: 1 });
  const two = fill(rec, { into: rec.alloc([count], "two"), value: 2 });
  add(rec, { x: one, into: two, label: "sum" });
  rec.release(one);
  return two;
}

Deno.test("a program recorded before the arena grew runs in the grown one", async () => {
  const before = gpu.record("small");
  const small = onePlusTwo(before, 16);
  const smallProgram = await before.finish();
  await gpu.run(smallProgram);
  const generation = gpu.arena.generation;

  const after = gpu.record("large");
  const large = onePlusTwo(after, 100_000);
  const largeProgram = await after.finish();
  assert.notEqual(gpu.arena.generation, generation);

  await gpu.run(largeProgram);
  assert.ok((await gpu.readFloats(large)).every((v) => v === 3));
  await gpu.run(smallProgram);
  assert.deepEqual([...await gpu.readFloats(small)], Array(16).fill(3));
  smallProgram.dispose();
  largeProgram.dispose();
});

Deno.test("disposing gives every byte back", async () => {
  gpu.arena.dispose();
  assert.ok(gpu.absent.byteLength > 0, "made on first use, kept with the device");
  const baseline = { total: gpu.ledger.total, count: gpu.ledger.count };

  const rec = gpu.record("ledger");
  onePlusTwo(rec, 5000);
  const program = await rec.finish();
  await gpu.run(program);
  await gpu.idle();
  assert.ok(gpu.ledger.bytes("arena") >= 2 * 5000 * 4);
  assert.equal(gpu.ledger.total, baseline.total + gpu.ledger.bytes("arena"));
  program.dispose();
  gpu.arena.dispose();
  assert.deepEqual({ total: gpu.ledger.total, count: gpu.ledger.count }, baseline);
});

Deno.test("an activation larger than a binding is refused by name", () => {
  const rec = gpu.record("huge");
  const values = gpu.limits.maxStorageBufferBindingSize / 4 + 4;
  assert.throws(() => rec.alloc([values], "hidden"), /hidden: .* larger than this device binds/);
});
