/** Whole images with q8_0 and q4_0 weights: deterministic, near those of f16, planned to the byte. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { decodePng } from "../../src/image/png.ts";
import { openGpu } from "../../src/gpu/device.ts";
import { dryRun } from "../../src/engine/dry_run.ts";
import { openEngine } from "../../src/engine/engine.ts";
import { MemoryPlanner } from "../../src/engine/memory_planner.ts";
import { describeModel } from "../../src/models/mod.ts";
import { directorySource } from "../../src/weights/deno_source.ts";
import type { WeightType } from "../../src/weights/weight_type.ts";
import { prepareAdapter } from "../../adapter.ts";
import { psnr, tolerance } from "../tolerance.ts";

prepareAdapter();
const root = fileURLToPath(new URL("../../", import.meta.url));
const source = directorySource(`${root}fixtures/sd35-tiny`);
const request = {
  prompt: "a red circle on a blue background",
  seed: 7,
  numInferenceSteps: 8,
  guidanceScale: 4,
};
const other = { ...request, prompt: "a green star", seed: 3, numInferenceSteps: 5 };

/** The image alone, and beside another one. */
async function images(weightType: WeightType) {
  const gpu = await openGpu();
  const engine = await openEngine(source, { gpu, weightType });
  const { memory: { weights } } = engine.status();
  const planner = await MemoryPlanner.open(await describeModel(source), gpu, { weightType });
  assert.equal(planner.weights, weights, `${weightType}: the plan is the ledger`);
  const alone = await engine.generate(request);
  const [beside] = await Promise.all([request, other].map((r) => engine.generate(r)));
  await engine.close();
  return { alone: alone.images[0]!.data, beside: beside!.images[0]!.data, weights };
}

Deno.test("images of quantised weights", async (t) => {
  const plain = await images("auto");
  const made = new Map<WeightType, Uint8Array>();
  for (
    const [type, floor, size] of [
      ["q8_0", tolerance.q8Psnr, 0.62],
      ["q4_0", tolerance.q4Psnr, 0.41],
    ] as const
  ) {
    await t.step(`${type}: the same bytes in a batch, and near f16's`, async () => {
      const { alone, beside, weights } = await images(type);
      assert.deepEqual(alone, beside);
      made.set(type, alone);
      const found = psnr(alone, plain.alone);
      assert.ok(found >= floor, `${found.toFixed(1)} dB from f16's`);
      assert.notDeepEqual(alone, plain.alone);
      assert.ok(weights < size * plain.weights, `${weights} of ${plain.weights} bytes`);
    });
  }
  await t.step("the command line's flag: the same bytes in another process", async () => {
    const folder = await Deno.makeTempDir({ prefix: "quantized_weights_test_" });
    const output = `${folder}/image.png`;
    const run = async (...args: string[]) => {
      const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", `${root}cli.ts`, "generate", request.prompt, "--weights", ...args],
      }).output();
      assert.ok(success, new TextDecoder().decode(stderr));
      return new TextDecoder().decode(stdout);
    };
    const { seed, numInferenceSteps, guidanceScale } = request;
    const numbers = {
      seed,
      "num-inference-steps": numInferenceSteps,
      "guidance-scale": guidanceScale,
    };
    const flags = Object.entries(numbers).flatMap(([name, value]) => [`--${name}`, `${value}`]);
    await run("q4_0", ...flags, "--output", output);
    assert.deepEqual(decodePng(await Deno.readFile(output)).data, made.get("q4_0"));

    const planned = JSON.parse(await run("q4_0", "--dry-run", ...flags));
    assert.equal(planned.weight_type, "q4_0");
    assert.deepEqual(
      planned,
      JSON.parse(JSON.stringify(await dryRun(source, request, { weightType: "q4_0" }))),
    );
    const { memory } = await dryRun(source, request);
    assert.ok(planned.memory.weights < 0.41 * memory.weights);
    await Deno.remove(folder, { recursive: true });
  });
});
