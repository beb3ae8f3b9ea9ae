import assert from "node:assert/strict";
import { Gpu } from "../../src/gpu/device.ts";
import { conv2d, type Conv2dOptions, type ConvWeight } from "../../src/ops/conv2d.ts";
import { assertClose, copyOf, gpu, input, matrix, random, run } from "../gpu.ts";
import { conv2dReference, enlarge } from "../reference/conv2d.ts";
import { tolerance } from "../tolerance.ts";

/** The same device under the name of a real GPU: its kernels run on the software adapter as well. */
const hardware = new Gpu(gpu.device, gpu.adapter, "gpu");

type Shape = [number, number, number, number];

/** Weights as the loader lays them out, and their values as [O, kernel, kernel, I]. */
function makeWeight([n, kernel, inputs]: [number, number, number], dtype: "f32" | "f16") {
  const data = random(n * kernel * kernel * inputs, 2, 0.3);
  const { tensor, values } = matrix(data, [n * kernel * kernel, inputs], dtype);
  const weight: ConvWeight = {
    shape: [n, kernel, kernel, Math.ceil(inputs / 8) * 8],
    parts: [{ tensor, rowStart: 0, rows: n }],
  };
  return { weight, values };
}

async function compare(
  shape: Shape,
  [outputs, kernel]: [number, number],
  dtype: "f32" | "f16",
  options: Partial<Conv2dOptions> = {},
  on = gpu,
): Promise<void> {
  const [batch, height, width, inputs] = shape;
  const { weight, values } = makeWeight([outputs, kernel, inputs], dtype);
  const x = random(batch * height * width * inputs, 3);
  const bias = random(outputs, 4);
  const actual = await run((rec) =>
    conv2d(rec, {
      x: input(x, shape),
      weight,
      bias: input(bias, [outputs]),
      label: "t",
      ...options,
      ...options.into && { into: copyOf(rec, options.into) },
    }), on);
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
  assertClose(
    actual,
    expected,
    tolerance.op,
    `[${shape}] -> ${outputs}, kernel ${kernel}, ${dtype}`,
  );
}

for (const dtype of ["f16", "f32"] as const) {
  Deno.test(`conv2d with ${dtype} weights over awkward shapes`, async () => {
    for (const [height, width] of [[1, 1], [2, 15], [3, 16], [5, 17], [4, 33]] as const) {
      for (const [inputs, outputs] of [[3, 32], [8, 3], [36, 20], [16, 64], [24, 68]] as const) {
        await compare([1, height, width, inputs], [outputs, 3], dtype);
      }
    }
    await compare([3, 5, 7, 16], [48, 1], dtype);
    await compare([2, 9, 6, 8], [16, 5], dtype);
  });

  Deno.test(`conv2d on GPUs with ${dtype} weights over awkward shapes`, async () => {
    for (const [height, width] of [[1, 1], [5, 13], [9, 15]] as const) {
      for (const [inputs, outputs] of [[3, 32], [8, 3], [16, 64], [24, 68]] as const) {
        await compare([2, height, width, inputs], [outputs, 3], dtype, {}, hardware);
      }
    }
    await compare([1, 65, 65, 8], [260, 1], dtype, {}, hardware);
    const shape: Shape = [2, 7, 10, 16];
    await compare(shape, [24, 3], dtype, { stride: 2, padding: "asymmetric" }, hardware);
    await compare(shape, [24, 3], dtype, { stride: 2 }, hardware);
    await compare(shape, [24, 3], dtype, { upsample: true }, hardware);
    const into = input(new Float32Array(2 * 7 * 10 * 24), [2, 7, 10, 24]);
    await compare(shape, [24, 3], dtype, { into }, hardware);
  });

  Deno.test(`conv2d with ${dtype} weights strides, pads as diffusers and upsamples`, async () => {
    for (const [height, width] of [[8, 8], [7, 10], [9, 35]] as const) {
      const shape: Shape = [2, height, width, 16];
      await compare(shape, [24, 3], dtype, { stride: 2, padding: "asymmetric" });
      await compare(shape, [24, 3], dtype, { stride: 2 });
      await compare(shape, [24, 3], dtype, { upsample: true });
    }
  });
}

for (const dtype of ["f16", "f32"] as const) {
  Deno.test(`conv2d writes each part of a split ${dtype} weight to its columns`, async () => {
    const [n, inputs] = [84, 8];
    const data = Float32Array.from(new Float16Array(random(n * 9 * inputs, 2, 0.3)));
    const parts = [[0, 64], [64, 20]].map(([rowStart, rows]) => {
      const values = data.subarray(rowStart! * 9 * inputs, (rowStart! + rows!) * 9 * inputs);
      const { tensor } = matrix(values, [rows! * 9, inputs], dtype);
      return { tensor, rowStart: rowStart!, rows: rows! };
    });
    const x = random(6 * 5 * inputs, 3);
    const bias = random(n, 4);
    const actual = await run((rec) =>
      conv2d(rec, {
        x: input(x, [1, 6, 5, inputs]),
        weight: { shape: [n, 3, 3, inputs], parts },
        bias: input(bias, [n]),
        label: "t",
      })
    );
    const expected = conv2dReference(x, data, bias, {
      batch: 1,
      height: 6,
      width: 5,
      inputs,
      outputs: n,
      kernel: 3,
      stride: 1,
      before: 1,
      after: 1,
    });
    assertClose(actual, expected, tolerance.op);
  });
}

Deno.test("conv2d adds to a residual in place", async () => {
  for (const outputs of [20, 3]) {
    const shape: Shape = [2, 6, 9, 8];
    const { weight, values } = makeWeight([outputs, 3, 8], "f16");
    const x = random(2 * 6 * 9 * 8, 3);
    const bias = random(outputs, 4);
    const residual = random(2 * 6 * 9 * outputs, 5);
    const actual = await run((rec) => {
      const into = input(residual, [2, 6, 9, outputs]);
      const y = conv2d(rec, {
        x: input(x, shape),
        weight,
        bias: input(bias, [outputs]),
        into,
        label: "t",
      });
      assert.equal(y, into);
      return y;
    });
    const plain = conv2dReference(x, values, bias, {
      batch: 2,
      height: 6,
      width: 9,
      inputs: 8,
      outputs,
      kernel: 3,
      stride: 1,
      before: 1,
      after: 1,
    });
    assertClose(actual, plain.map((v, i) => v + residual[i]!), tolerance.op, `${outputs} outputs`);
  }
});

Deno.test("conv2d gives a sample the same bits alone and in a batch", async () => {
  const { weight } = makeWeight([20, 3, 16], "f16");
  const size = 5 * 19 * 16;
  const x = random(3 * size, 3);
  const bias = input(random(20, 4), [20]);
  const evaluate = (values: Float32Array<ArrayBuffer>, batch: number) =>
    run((rec) => conv2d(rec, { x: input(values, [batch, 5, 19, 16]), weight, bias, label: "t" }));
  const together = await evaluate(x, 3);
  for (let sample = 0; sample < 3; sample++) {
    const alone = await evaluate(x.slice(sample * size, (sample + 1) * size), 1);
    assert.deepEqual(alone, together.slice(sample * 5 * 19 * 20, (sample + 1) * 5 * 19 * 20));
  }
});

Deno.test("conv2d refuses shapes that do not fit", () => {
  const { weight } = makeWeight([8, 3, 16], "f32");
  const rec = gpu.record("test");
  const bias = input(random(8), [8]);
  const x = input(random(16 * 4), [1, 2, 2, 16]);
  const wrong = input(random(24), [1, 2, 2, 6]);
  assert.throws(() => conv2d(rec, { x: wrong, weight, bias, label: "t" }), /x \(f32\) is/);
  assert.throws(() => conv2d(rec, { x, weight, bias: x, label: "t" }), /bias is/);
  assert.throws(() => conv2d(rec, { x, weight, bias, into: wrong, label: "t" }), /into is/);
  assert.throws(
    () => conv2d(rec, { x, weight: { ...weight, shape: [8, 2, 2, 16] }, bias, label: "t" }),
    /weight is/,
  );
});
