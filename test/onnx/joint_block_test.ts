/** The block that the benchmark measures is the same function on both engines. */
import { openJointBlock } from "../bench/joint_block.ts";
import { assertClose, gpu } from "../gpu.ts";
import { tolerance } from "../tolerance.ts";

for (const dual of [false, true]) {
  Deno.test(`a joint block ${dual ? "with" : "without"} dual attention on both engines`, async () => {
    const shape = { heads: 3, headDim: 64, tokens: 20, contextTokens: 13, dual };
    const { wgsl, onnx } = await openJointBlock(gpu, shape);
    await wgsl.run();
    await onnx.run();
    for (const key of ["hidden", "context"] as const) {
      const ours = await gpu.readFloats(wgsl[key]);
      assertClose(await gpu.readFloats(onnx[key]), ours, tolerance.module, key);
    }
    await wgsl.dispose();
    await onnx.dispose();
  });
}
