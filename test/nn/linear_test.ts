/** Layers that are computed as one product, and where each lies in it. */
import assert from "node:assert/strict";
import { Linear } from "../../src/nn/linear.ts";
import { openCheckpoint } from "../../src/weights/layouts/mod.ts";
import { DeclaredWeights } from "../../src/weights/declared.ts";
import { makeNetwork } from "../foreign/make_network.ts";
import { gpu, input, random } from "../gpu.ts";
import { source } from "../weights/make.ts";

const inputs = 16;
const shapes = new Map<string, readonly number[]>([
  ["a.weight", [8, inputs]],
  ["a.bias", [8]],
  ["b.weight", [24, inputs]],
  ["b.bias", [24]],
]);

async function load(
  build: (declared: DeclaredWeights) => readonly Linear[],
): Promise<readonly Linear[]> {
  const declared = new DeclaredWeights("network");
  const layers = build(declared);
  const { files } = makeNetwork(shapes, { stem: "diffusion_pytorch_model" });
  await declared.load(await openCheckpoint(source(files), ""), gpu);
  return layers;
}

async function outputs(layer: Linear): Promise<Float32Array> {
  const rec = gpu.record("linear");
  const y = layer.forward(rec, input(random(3 * inputs), [1, 3, inputs]));
  await gpu.run(await rec.finish());
  return await gpu.readFloats(y);
}

Deno.test("a product of several layers gives each one's outputs, at the rows that it names", async () => {
  const [joined] = await load((declared) => [
    new Linear(declared, "a+b", inputs, 32, {
      parts: [{ path: "a", rows: 8 }, { path: "b", rows: 24 }],
    }),
  ]);
  const alone = await load((declared) => [
    new Linear(declared, "a", inputs, 8),
    new Linear(declared, "b", inputs, 24),
  ]);
  assert.deepEqual(joined!.parts.map(({ path }) => path), ["a", "b"]);
  const together = await outputs(joined!);
  for (const [i, { rowStart, rows }] of joined!.parts.entries()) {
    const own = await outputs(alone[i]!);
    for (let token = 0; token < 3; token++) {
      const from = 32 * token + rowStart;
      assert.deepEqual(
        together.subarray(from, from + rows),
        own.subarray(rows * token, rows * (token + 1)),
      );
    }
  }
});
