/** Networks as something to call: their shapes, ends and what goes with a program. */
import assert from "node:assert/strict";
import { prepareAdapter } from "../../adapter.ts";
import { openGpu } from "../../src/gpu/device.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";
import { Recorded } from "../../src/nn/recorded.ts";
import { add } from "../../src/ops/add.ts";

prepareAdapter();
const gpu = await openGpu();

const given = (...values: number[]) =>
  gpu.upload(Float32Array.from(values), [values.length], "given", "other");
const empty = (length: number) => gpu.createTensor([length], "out", "other");
const valuesOf = async (tensor: Tensor) => [...await gpu.readFloats(tensor)];

Deno.test("outputs are there after the run, also those that commands read again, and inputs stay", async () => {
  const network = new Recorded<"x", "doubled" | "eightfold">(gpu, {
    ...{ label: "double", kept: 2 },
    build: (rec, { x }) => {
      const twice = (from: Tensor) => {
        const into = rec.alloc(from.shape, "twice");
        rec.copy(from, into);
        return add(rec, { x: from, into, label: "twice" });
      };
      const doubled = twice(x);
      return { doubled, eightfold: twice(twice(doubled)) };
    },
  });
  for (const values of [[1, 2, 3, 4], [5, 6, 7, 8, 9, 10, 11, 12], [0, 0, 0, 1]]) {
    const x = given(...values);
    const [doubled, eightfold] = [empty(values.length), empty(values.length)];
    await network.run({ x }, { doubled, eightfold });
    assert.deepEqual(await valuesOf(doubled), values.map((value) => 2 * value));
    assert.deepEqual(await valuesOf(eightfold), values.map((value) => 8 * value));
    assert.deepEqual(await valuesOf(x), values);
  }
  network.dispose();
});

Deno.test("what was prepared for a shape goes with its program", async () => {
  const prepared: string[] = [];
  const network = new Recorded<"x", "y">(gpu, {
    ...{ label: "shift", kept: 1 },
    prepare: ({ x }) => {
      prepared.push(`${x}`);
      const ones = new Float32Array(x[0]!).fill(1);
      return Promise.resolve(gpu.upload(ones, x, "ones", "cache"));
    },
    build: (rec, { x }, ones) => ({ y: add(rec, { x: ones!, into: x, label: "shift" }) }),
  });
  for (const length of [4, 4, 8]) {
    const y = empty(length);
    await network.run({ x: given(...Array(length).fill(2)) }, { y });
    assert.deepEqual(await valuesOf(y), Array(length).fill(3));
    assert.equal(gpu.ledger.bytes("cache"), 4 * length, "only the last shape is kept");
  }
  assert.deepEqual(prepared, ["4", "8"]);
  network.dispose();
  assert.equal(gpu.ledger.bytes("cache"), 0);
});

Deno.test("a network that cannot be recorded frees what was prepared and can be tried again", async () => {
  let fails = true;
  const network = new Recorded<"x", "y">(gpu, {
    ...{ label: "moody", kept: 1 },
    prepare: ({ x }) => Promise.resolve(gpu.createTensor(x, "table", "cache")),
    build: (_, { x }) => {
      if (fails) throw new RangeError("Not today");
      return { y: x };
    },
  });
  const x = given(1, 2, 3, 4);
  const y = empty(4);
  await assert.rejects(network.run({ x }, { y }), /Not today/);
  assert.equal(gpu.ledger.bytes("cache"), 0);
  fails = false;
  await network.run({ x }, { y });
  assert.deepEqual(await valuesOf(y), [1, 2, 3, 4]);
  network.dispose();
});
