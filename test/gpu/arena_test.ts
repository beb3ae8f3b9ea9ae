/** Activations' memory: reuse in a program, growth under older programs, and the ledger. */
import assert from "node:assert/strict";
import { prepareAdapter } from "../../adapter.ts";
import { openGpu } from "../../src/gpu/device.ts";
import type { Recorder } from "../../src/gpu/recorder.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";
import { add } from "../../src/ops/add.ts";
import { fill } from "../../src/ops/fill.ts";

prepareAdapter();
// A device of its own: what the arena holds is this file's alone.
const gpu = await openGpu();

/** Passes x on through new activations, one after the other. */
function chain(rec: Recorder, x: Tensor, length: number): Tensor[] {
  const links = [x];
  for (let i = 0; i < length; i++) {
    const next = rec.alloc(x.shape, `link ${i}`);
    rec.copy(links.at(-1)!, next);
    links.push(next);
  }
  return links;
}

const slotsOf = (tensors: readonly Tensor[]) =>
  new Set(tensors.map(({ storage }) => storage.buffer)).size;

Deno.test("activations take turns in the memory of those that nobody reads any more", async () => {
  const rec = gpu.record("turns");
  const links = chain(rec, rec.alloc([64], "first"), 5);
  (await rec.finish()).dispose();
  assert.equal(slotsOf(links), 2);
});

Deno.test("what is read after the program, or filled before it, shares with nobody until then", async () => {
  const rec = gpu.record("ends");
  const early = chain(rec, rec.input([64], "given"), 1);
  const late = fill(rec, { into: rec.input([64], "given, and written to"), value: 0 });
  const links = chain(rec, early[1]!, 3);
  rec.keep(links[1]!);
  const result = chain(rec, links.at(-1)!, 1)[1]!;
  const program = await rec.finish();
  program.dispose();
  assert.equal(slotsOf([early[0]!, late]), 2);
  assert.equal(slotsOf([links[1]!, late, result]), 3);
  assert.equal(slotsOf([...links.slice(2), links[1]!]), 3);
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

/** sum = 1 + 2, in activations of this size. */
function onePlusTwo(rec: Recorder, count: number): Tensor {
  const one = fill(rec, { into: rec.alloc([count], "one"), value: 1 });
  const two = fill(rec, { into: rec.alloc([count], "two"), value: 2 });
  add(rec, { x: one, into: two, label: "sum" });
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
