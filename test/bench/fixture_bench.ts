/** The fixture's stages and whole images on both backends, in turn on one device. */
import { fileURLToPath } from "node:url";
import { loadOnnx } from "../../src/backends/onnx/load.ts";
import { exportOnnx } from "../../src/backends/onnx/export/mod.ts";
import { loadModel } from "../../src/backends/load.ts";
import type { Components } from "../../src/models/sd3/components.ts";
import { describeModel } from "../../src/models/mod.ts";
import { directorySink } from "../../src/weights/deno_sink.ts";
import { directorySource } from "../../src/weights/deno_source.ts";
import { gpu } from "../gpu.ts";
import { type DeviceClock, startDeviceClock } from "./device_clock.ts";
import { race } from "./race.ts";
import type { Row } from "./report.ts";
import { imageSize, imageSteps, type Stages, stagesOf } from "./stages.ts";

const fixture = fileURLToPath(new URL("../../fixtures/sd35-tiny", import.meta.url));

const titles: Record<keyof Stages, string> = {
  encode: "encode one prompt",
  step: "one step with guidance",
  decode: "decode",
  image: `${imageSize}x${imageSize}, ${imageSteps} steps with guidance, prompt to PNG`,
};

export async function benchFixture(seconds: number, add: (row: Row) => void): Promise<void> {
  const source = directorySource(fixture);
  const model = await describeModel(source);
  const own = await loadModel(model, gpu);
  const folder = await Deno.makeTempDir();
  try {
    await exportOnnx(source, directorySink(folder));
    const networks = [
      "clipL",
      "clipG",
      "t5",
      "transformer",
      "decoder",
    ] as const;
    const exported = { ...model, source: directorySource(folder) };
    const onnx = await loadOnnx(exported, gpu, networks) as Components;
    const wgsl = stagesOf("ours", gpu, model, own);
    const peer = stagesOf("onnxruntime WebGPU", gpu, exported, onnx);
    for (const stage of Object.keys(titles) as (keyof Stages)[]) {
      // Its stages have warmed up, and a whole image takes it long.
      const warm = stage === "image" ? { warmUp: () => Promise.resolve() } : {};
      const contenders = [wgsl[stage], { ...peer[stage], ...warm }];
      const times = await race(contenders, { rounds: 7, seconds });
      const idle = stage === "image" ? await idleShare(wgsl.image) : undefined;
      add({ group: "fixture", name: titles[stage], times, idle });
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Part of an image's wall time in which the device did nothing; undefined without timestamps. */
async function idleShare({ run }: Stages["image"]): Promise<number | undefined> {
  const clock: DeviceClock | undefined = startDeviceClock(gpu);
  if (!clock) return undefined;
  try {
    const started = performance.now();
    await run(2);
    const wall = performance.now() - started;
    return 1 - await clock.read() / wall;
  } finally {
    clock.stop();
  }
}
