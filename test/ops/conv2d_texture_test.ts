import assert from "node:assert/strict";
import { conv2d, type Conv2dOptions, type ConvWeight } from "../../src/ops/conv2d.ts";
import { assertClose, gpu, input, matrix, random, run, weightTexture } from "../gpu.ts";
import { conv2dReference, enlarge } from "../reference/conv2d.ts";
import { tolerance } from "../tolerance.ts";

type Shape = [number, number, number, number];

/** f16 weights in textures of `split` outputs each, and their values as [O, kernel, kernel, I]. */
async function makeWeight(n: number, kernel: number, inputs: number, split = n) {
  const data = random(n * kernel * kernel * inputs, 2, 0.3);
  const { tensor, values } = matrix(data, [n * kernel * kernel, inputs], "f16");
  const channels = Math.ceil(inputs / 8) * 8;
  const length = kernel * kernel * channels;
  const halves = new Float16Array(await gpu.readBytes(tensor), 0, n * length);
  const parts = [];
  for (let rowStart = 0; rowStart < n; rowStart += split) {
    const rows = Math.min(split, n - rowStart);
    const part = halves.slice(rowStart * length, (rowStart + rows) * length);
    parts.push({ tensor, texture: weightTexture(rows, length, part), rowStart, rows });
  }
  const weight: ConvWeight = { shape: [n, kernel, kernel, channels], parts };
  return { weight, values };
}

async function compare(
  shape: Shape,
  [outputs, kernel]: [number, number],
  options: Partial<Conv2dOptions> = {},
  split?: number,
): Promise<void> {
  const [batch, height, width, inputs] = shape;
  const { weight, values } = await makeWeight(outputs, kernel, inputs, split);
  const x = random(batch * height * width * inputs, 3);
  const bias = random(outputs, 4);
  const actual = await run((rec) =>
    conv2d(rec, {
      x: input(x, shape),
      weight,
      bias: input(bias, [outputs]),
      label: "t",
      ...options,
    })
  );
  const scale = options.upsample ? 2 : 1;
  const asymmetric = options.padding === "asymmetric";
  const expected = conv2dReference(options.upsample ? enlarge(x, shape) : x, values, bias, {
    batch,
    height: height * scale,
    width: width * scale,
    inputs,
    outputs,
    kernel,
    stride: options.stride ?? 1,
    before: asymmetric ? 0 : (kernel - 1) / 2,
    after: asymmetric ? 1 : (kernel - 1) / 2,
  });
  assertClose(actual, expected, tolerance.op, `[${shape}] -> ${outputs}, kernel ${kernel}`);
}

Deno.test("conv2d from textures over awkward shapes", async () => {
  for (const [height, width] of [[1, 1], [2, 15], [3, 16], [5, 17], [4, 33]] as const) {
    for (const [inputs, outputs] of [[3, 32], [8, 3], [36, 20], [64, 64], [24, 132]] as const) {
      await compare([1, height, width, inputs], [outputs, 3]);
    }
  }
  await compare([2, 5, 7, 16], [20, 1]);
  await compare([2, 5, 7, 8], [136, 3], {}, 64);
});

Deno.test("conv2d from textures: strides, upsampling, batches", async () => {
  await compare([2, 6, 10, 16], [24, 3], { stride: 2, padding: "asymmetric" });
  await compare([2, 7, 9, 16], [24, 3], { stride: 2 });
  await compare([3, 5, 6, 24], [36, 3], { upsample: true });
});

Deno.test("conv2d from textures in several passes over the lines", async () => {
  await compare([2, 150, 512, 8], [4, 3]);
  await compare([1, 75, 600, 64], [4, 3], { upsample: true });
});

Deno.test("conv2d from textures adds to a residual in place", async () => {
  const { weight, values } = await makeWeight(20, 3, 16);
  const [x, bias, residual] = [random(2 * 35 * 16, 3), random(20, 4), random(2 * 35 * 20, 5)];
  const actual = await run((rec) =>
    conv2d(rec, {
      x: input(x, [2, 5, 7, 16]),
      weight,
      bias: input(bias, [20]),
      into: input(residual.slice(), [2, 5, 7, 20]),
      label: "t",
    })
  );
  const expected = conv2dReference(x, values, bias, {
    batch: 2,
    height: 5,
    width: 7,
    inputs: 16,
    outputs: 20,
    kernel: 3,
    stride: 1,
    before: 1,
    after: 1,
  });
  assertClose(actual, expected.map((v, i) => v + residual[i]!), tolerance.op);
});

Deno.test("conv2d from textures: a sample alone has the bits that it has in a batch of three", async () => {
  const { weight } = await makeWeight(68, 3, 64);
  const [x, bias] = [random(3 * 6 * 18 * 64, 3), random(68, 4)];
  const convolve = (values: Float32Array<ArrayBuffer>, batch: number) =>
    run((rec) =>
      conv2d(rec, {
        x: input(values, [batch, 6, 18, 64]),
        weight,
        bias: input(bias, [68]),
        label: "t",
      })
    );
  const all = await convolve(x, 3);
  for (let i = 0; i < 3; i++) {
    const alone = await convolve(x.slice(i * x.length / 3, (i + 1) * x.length / 3), 1);
    assert.deepEqual(alone, all.slice(i * all.length / 3, (i + 1) * all.length / 3));
  }
});
