/** With either family of kernels, on one adapter, the same image, which is diffusers'. */
import assert from "node:assert/strict";
import { psnr, tolerance } from "../tolerance.ts";
import { openFixture } from "./fixture.ts";
import { assertTrajectory } from "./trajectory.ts";

Deno.test("a whole image with the kernels for GPUs and with those for software adapters", async () => {
  const images: Uint8Array[] = [];
  for (const kernels of ["gpu", "software"] as const) {
    const fixture = await openFixture({ kernels });
    assert.equal(fixture.gpu.family, kernels);
    images.push((await assertTrajectory(fixture, "trajectory_128x128_g1")).data);
  }
  const found = psnr(images[0]!, images[1]!);
  assert.ok(found >= tolerance.imagePsnr, `${found.toFixed(1)} dB`);
});
