/** What a recording without a device plans is what a real device then holds. */
import assert from "node:assert/strict";
import { prepareAdapter } from "../../adapter.ts";
import { type Gpu, openGpu } from "../../src/gpu/device.ts";
import { dryGpu } from "../../src/gpu/dry_device.ts";
import { activation } from "../../src/ops/activation.ts";
import { groupNorm } from "../../src/ops/group_norm.ts";
import { layerNorm } from "../../src/ops/layer_norm.ts";

prepareAdapter();
const gpu = await openGpu();

async function arenaBytes(on: Gpu): Promise<number> {
  const rec = on.record("plan");
  const x = rec.alloc([1, 9, 7, 32], "x");
  const vector = rec.alloc([32], "vector");
  const options = { weight: vector, bias: vector, eps: 1e-6 };
  const normed = groupNorm(rec, { x, ...options, groups: 8, silu: true, label: "group" });
  const again = layerNorm(rec, { x: normed, ...options, label: "layer" });
  activation(rec, { x: again, kind: "gelu", label: "gelu" });
  const program = await rec.finish();
  const bytes = on.ledger.bytes("arena");
  assert.ok(bytes > on.arena.bytes, "uniforms are counted, too");
  program.dispose();
  return bytes;
}

Deno.test("kernels are the adapter's own or those asked for, and weights lie as they read", () => {
  const card = { vendor: "", architecture: "", description: "a card", isSoftware: false };
  const mesa = { ...card, description: "llvmpipe", isSoftware: true };
  const forms = [
    { adapter: card },
    { adapter: card, family: "software" },
    { adapter: mesa },
    { adapter: mesa, family: "gpu" },
    { adapter: { ...mesa, description: "SwiftShader" } },
  ] as const;
  const opened = forms.map((form) => dryGpu({ limits: gpu.limits, ...form }));
  assert.deepEqual(opened.map(({ family, prefersTextures }) => [family, prefersTextures]), [
    ["gpu", false],
    ["software", true],
    ["software", true],
    ["gpu", false],
    ["software", false],
  ]);
});

Deno.test("a dry recording takes as much memory as a real one", async () => {
  const dry = await arenaBytes(dryGpu(gpu));
  assert.equal(dry, await arenaBytes(gpu));
});

Deno.test("a dry device runs nothing and refuses what the real one's limits refuse", async () => {
  const dry = dryGpu(gpu);
  await dry.submit("nothing", () => {});
  const values = gpu.limits.maxStorageBufferBindingSize / 4 + 4;
  assert.throws(
    () => dry.record("huge").alloc([values], "hidden"),
    /larger than this device binds/,
  );
});
