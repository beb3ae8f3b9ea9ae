/** An arena on a device that runs out of memory: one recording fails, older programs stay usable. */
import assert from "node:assert/strict";
import { dryGpu } from "../../src/gpu/dry_device.ts";
import { OutOfDeviceMemoryError } from "../../src/gpu/errors.ts";

/** A dry device whose buffers of more than `limit()` bytes fail as on a full device. */
function fullDevice(limit: () => number) {
  const gpu = dryGpu();
  const device = gpu.device as unknown as Record<string, (...args: never[]) => unknown>;
  const create = device.createBuffer!;
  let failed = false;
  device.createBuffer = (descriptor: never) => {
    failed ||= (descriptor as { size: number }).size > limit();
    return create(descriptor);
  };
  device.popErrorScope = () => {
    const error = failed ? new RangeError("no memory left") : null;
    failed = false;
    return Promise.resolve(error);
  };
  return gpu;
}

Deno.test("a slot that cannot grow keeps its size, and its recording is refused", async () => {
  let limit = 4096;
  const gpu = fullDevice(() => limit);
  const small = gpu.record("small");
  small.alloc([256], "small");
  await small.finish();
  const [before, generation] = [gpu.arena.sizes, gpu.arena.generation];
  const { total } = gpu.ledger;

  const large = gpu.record("large");
  large.alloc([2048], "large");
  await assert.rejects(large.finish(), OutOfDeviceMemoryError);
  assert.deepEqual(gpu.arena.sizes, before);
  assert.equal(gpu.ledger.total, total);
  assert.notEqual(gpu.arena.generation, generation, "programs must bind the new buffer");

  limit = 8192;
  const again = gpu.record("again");
  again.alloc([2048], "large");
  await again.finish();
  assert.deepEqual(gpu.arena.sizes, [8192]);
});

Deno.test("of two recordings at once the one that needs less goes on", async () => {
  const gpu = fullDevice(() => 4096);
  const fits = gpu.record("fits");
  fits.alloc([1024], "fits");
  const large = gpu.record("large");
  large.alloc([1025], "large");
  const [one, other] = await Promise.allSettled([large.finish(), fits.finish()]);
  assert.equal(one.status, "rejected");
  assert.equal(other.status, "fulfilled");
});

Deno.test("batches of any size share one texture, which grows with the largest", () => {
  const { arena } = dryGpu();
  const one = arena.texture(96, 73);
  const four = arena.texture(96, 4 * 73);
  assert.equal(four, one, "programs that hold the low one find the high one");
  assert.equal(arena.texture(96, 2 * 73), one);
  assert.equal(arena.bytes, 16 * 96 * 4 * 73);
  assert.notEqual(arena.texture(192, 73), one, "another width is another layout");
  assert.equal(arena.texture(96, 300), one);
  assert.equal(arena.bytes, 16 * (96 * 300 + 192 * 73));
});
