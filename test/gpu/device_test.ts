/** Errors of the device: whose they are, what they are called, and what is left after a loss. */
import assert from "node:assert/strict";
import { openGpu } from "../../src/gpu/device.ts";
import {
  DeviceLostError,
  DeviceUnavailableError,
  KernelError,
  OutOfDeviceMemoryError,
} from "../../src/gpu/errors.ts";
import { defineKernel } from "../../src/gpu/kernel.ts";
import { copyTensor } from "../../src/gpu/program.ts";
import { add } from "../../src/ops/add.ts";
import { fill } from "../../src/ops/fill.ts";
import { gpu, input, random } from "../gpu.ts";

async function fillProgram(into = gpu.createTensor([64], "target", "other")) {
  const rec = gpu.record("fill");
  fill(rec, { into, value: 5 });
  return { into, program: await rec.finish() };
}

Deno.test("a bad submit is rejected, the ones beside it are not", async () => {
  const good = await fillProgram();
  const bad = await fillProgram();
  const also = await fillProgram();
  gpu.destroyTensor(bad.into);
  const results = await Promise.allSettled(
    [good, bad, also].map(({ program }) => gpu.run(program)),
  );
  assert.deepEqual(results.map((r) => r.status), ["fulfilled", "rejected", "fulfilled"]);
  const { reason } = results[1] as PromiseRejectedResult;
  assert.ok(reason instanceof KernelError);
  assert.match(reason.message, /^fill: /);
  for (const { into } of [good, also]) {
    assert.deepEqual(await gpu.readFloats(into), new Float32Array(64).fill(5));
  }
  for (const { program } of [good, bad, also]) program.dispose();
});

Deno.test("commands encoded ahead use the arena as it is at their submit, and write then", async () => {
  const rec = gpu.record("ahead");
  const activation = rec.alloc([64], "activation");
  const added = rec.alloc([64], "added");
  fill(rec, { into: activation, value: 3 });
  add(rec, { x: added, into: activation, label: "sum" });
  const program = await rec.finish();
  const out = gpu.createTensor([64], "out", "other");
  const commands = await gpu.commands("ahead", (encoder) => {
    program.replay(encoder);
    copyTensor(encoder, activation, out);
  });
  const { generation, sizes } = gpu.arena;
  gpu.arena.reserve(sizes.map((size) => size + 4096));
  assert.notEqual(gpu.arena.generation, generation, "the arena did not grow");
  let written = 0;
  await commands.submit(() => {
    written++;
    gpu.write(added, new Float32Array(64).fill(4));
  });
  assert.equal(written, 1);
  assert.deepEqual(await gpu.readFloats(out), new Float32Array(64).fill(7));
  program.dispose();
  gpu.destroyTensor(out);
});

Deno.test("what cannot be encoded is refused before anything is submitted", async () => {
  const a = gpu.createTensor([4], "a", "other");
  await assert.rejects(
    gpu.commands("copy", (encoder) => {
      encoder.copyBufferToBuffer(a.storage.buffer, 0, a.storage.buffer, 1 << 20, 16);
    }),
    /^KernelError: copy: /,
  );
  const commands = await gpu.commands("clear", (encoder) => encoder.clearBuffer(a.storage.buffer));
  gpu.destroyTensor(a);
  await assert.rejects(commands.submit(() => {}), /^KernelError: clear: /);
});

Deno.test("after a bad submit the next one is clean", async () => {
  const a = gpu.createTensor([4], "a", "other");
  const outside = gpu.submit(
    "copy",
    (encoder) => encoder.copyBufferToBuffer(a.storage.buffer, 0, a.storage.buffer, 1 << 20, 16),
  );
  await assert.rejects(outside, /^KernelError: copy: /);
  await gpu.submit("nothing", () => {});
});

Deno.test("what an encode throws is what submit rejects with", async () => {
  const boom = new RangeError("boom");
  await assert.rejects(
    gpu.submit("thrower", () => {
      throw boom;
    }),
    (error) => error === boom,
  );
  await gpu.submit("nothing", () => {});
});

Deno.test("a kernel that does not compile rejects its recording with the compiler's words", async () => {
  const source = `@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1)
fn main() {
  y[0] = no_such_name;
}
`;
  const rec = gpu.record("broken");
  const y = rec.alloc([4], "y");
  const kernel = defineKernel("broken", source);
  rec.dispatch({ label: "broken", kernel, bindings: { y }, grid: [1, 1, 1] });
  await assert.rejects(rec.finish(), (error) => {
    assert.ok(error instanceof KernelError);
    assert.equal(error.kernel, "broken");
    assert.match(error.message, /line 4.*no_such_name/s);
    return true;
  });
});

Deno.test("a recording refuses grids that its kernel cannot be told of, and missing bindings, at once", () => {
  const rec = gpu.record("refusals");
  const source = `@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1)
fn main() { y[0] = 1.0; }
`;
  const kernel = defineKernel("refusal", source);
  const y = rec.alloc([4], "y");
  const limit = gpu.limits.maxComputeWorkgroupsPerDimension;
  assert.throws(
    () => rec.dispatch({ label: "op/a", kernel, bindings: { y }, grid: [limit + 1, 1, 1] }),
    /refusal: A grid this large needs group_x/,
  );
  assert.throws(
    () => rec.dispatch({ label: "op/a", kernel, bindings: { y }, grid: [1.5] }),
    /op\/a: grid \[1.5\] is no number/,
  );
  assert.throws(
    () => rec.dispatch({ label: "op/a", kernel, bindings: {}, grid: [1, 1, 1] }),
    /op\/a: nothing is bound to y/,
  );
});

Deno.test("write refuses more bytes than the tensor has", () => {
  const x = input(random(4), [4], "x");
  assert.throws(() => gpu.write(x, new Float32Array(5)), /x: 20 bytes do not fit 16/);
});

Deno.test("a buffer past the device's limit is out of memory", () => {
  const size = gpu.limits.maxBufferSize + 16;
  assert.throws(
    () => gpu.createBuffer({ label: "huge", size, owner: "other" }),
    OutOfDeviceMemoryError,
  );
});

Deno.test("no adapter is an error that says what to install", async () => {
  const none = { requestAdapter: () => Promise.resolve(null) } as unknown as GPU;
  await assert.rejects(openGpu({ api: none }), (error) => {
    assert.ok(error instanceof DeviceUnavailableError);
    assert.match(error.message, /install a Vulkan, Metal or DirectX 12 driver/);
    return true;
  });
});

Deno.test("after destroy() every use is a DeviceLostError", async () => {
  const gone = await openGpu();
  const x = gone.upload(random(4), [4], "x", "other");
  gone.destroy();
  assert.ok(await gone.lost instanceof DeviceLostError);
  await assert.rejects(gone.submit("late", () => {}), DeviceLostError);
  await assert.rejects(gone.readBytes(x), DeviceLostError);
  await assert.rejects(gone.idle(), DeviceLostError);
  assert.throws(() => gone.record("late"), DeviceLostError);
  assert.throws(() => gone.createTensor([4], "late", "other"), DeviceLostError);
});

Deno.test("a submit under way when the device goes rejects instead of hanging", async () => {
  const gone = await openGpu();
  const x = gone.upload(random(1 << 20), [1 << 20], "x", "other");
  const reading = gone.readBytes(x);
  gone.destroy();
  await assert.rejects(reading, DeviceLostError);
});
