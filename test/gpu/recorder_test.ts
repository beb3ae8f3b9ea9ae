/** Copies into textures: beside each other where that is possible, and always in time. */
import assert from "node:assert/strict";
import { dryGpu } from "../../src/gpu/dry_device.ts";
import { defineKernel } from "../../src/gpu/kernel.ts";
import type { Program } from "../../src/gpu/program.ts";
import type { Recorder } from "../../src/gpu/recorder.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";
import { textureExtent } from "../../src/gpu/texture.ts";
import { gpu, input } from "../gpu.ts";

// y[0] += x(0, 0) + 1
const addTexel = defineKernel(
  "add_texel",
  `@group(0) @binding(0) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@compute @workgroup_size(1) fn main() { y[0] += textureLoad(x, vec2u(0u, 0u)) + 1.0; }`,
);

/** Adds x + 1 to y by way of a texture. */
function accumulate(rec: Recorder, x: Tensor, y: Tensor, texture = rec.scratchTexture(64)): void {
  const whole = { byteOffset: 0, bytesPerRow: 256, width: 1, height: 1, x: 0, y: 0 };
  rec.copyToTexture(x, texture, whole);
  rec.dispatch({
    label: "add_texel",
    kernel: addTexel,
    bindings: { x: texture, y },
    grid: [1, 1, 1],
  });
}

/** What a program encodes: "c" a copy, "(...)" a pass with a "d" for each of its dispatches. */
function orderOf(program: Program): string {
  let order = "";
  const append = (text: string) => () => {
    order += text;
  };
  const pass = { setPipeline() {}, setBindGroup() {}, dispatchWorkgroups: append("d") };
  const copies = { copyBufferToTexture: append("c"), copyBufferToBuffer: append("b") };
  const encoder = {
    ...copies,
    beginComputePass: () => {
      order += "(";
      return { ...pass, end: append(")") };
    },
  };
  program.replay(encoder as unknown as GPUCommandEncoder);
  return order;
}

const cases: readonly {
  readonly name: string;
  readonly build: (rec: Recorder, a: Tensor, b: Tensor, c: Tensor) => void;
  readonly order: string;
  /** Of a, b and c, which start as 1, 10 and 100. */
  readonly values: readonly number[];
}[] = [
  {
    name: "of its own, and nothing in the way: one after the other",
    build: (rec, a, b, c) => {
      accumulate(rec, a, c);
      accumulate(rec, b, c);
    },
    order: "cc(dd)",
    values: [1, 10, 113],
  },
  {
    name: "that was filled before: when that was read",
    build: (rec, a, b, c) => {
      const texture = rec.scratchTexture(64);
      accumulate(rec, a, c, texture);
      accumulate(rec, b, c, texture);
    },
    order: "c(d)c(d)",
    values: [1, 10, 113],
  },
  {
    name: "of what a dispatch has written: after it",
    build: (rec, a, b, c) => {
      accumulate(rec, a, b);
      accumulate(rec, b, c);
    },
    order: "c(d)c(d)",
    values: [1, 12, 113],
  },
  {
    name: "of what is written later: before that",
    build: (rec, a, b, c) => {
      accumulate(rec, a, c);
      accumulate(rec, b, c);
      accumulate(rec, c, b);
      accumulate(rec, a, c);
    },
    order: "cc(dd)cc(dd)",
    values: [1, 124, 115],
  },
  {
    name: "of what another copy has written: after it",
    build: (rec, a, b, c) => {
      rec.copy(a, b);
      accumulate(rec, a, c);
      accumulate(rec, b, c);
    },
    order: "bcc(dd)",
    values: [1, 1, 104],
  },
  {
    name: "of a tensor that lies in another one already: when it is read again",
    build: (rec, a, b, c) => {
      accumulate(rec, a, c);
      accumulate(rec, a, b);
    },
    order: "c(d)c(d)",
    values: [1, 12, 102],
  },
];

for (const { name, build, order, values } of cases) {
  Deno.test(`a copy into a texture ${name}`, async () => {
    const tensors = [1, 10, 100].map((value) => input(new Float32Array(4).fill(value), [4]));
    const rec = gpu.record("copies");
    build(rec, ...tensors as [Tensor, Tensor, Tensor]);
    const program = await rec.finish();
    assert.equal(orderOf(program), order);
    await gpu.run(program);
    const after = await Promise.all(tensors.map((tensor) => gpu.readFloats(tensor)));
    assert.deepEqual(after.map(([first]) => first), values);
    program.dispose();
  });
}

Deno.test("textures that are read at different times share their memory", async () => {
  const dry = dryGpu();
  const rec = dry.record("turns");
  const [a, b, c] = ["a", "b", "c"].map((name) => dry.createTensor([4], name, "other"));
  // a's and b's texels are there at once; c's after them, since it was written meanwhile.
  accumulate(rec, a!, c!);
  accumulate(rec, b!, c!);
  accumulate(rec, c!, b!);
  await rec.finish();
  const one = 16 * textureExtent(64, Infinity) * textureExtent(1, Infinity);
  assert.equal(dry.arena.bytes, 2 * one);
});
