/** One joint block of a transformer on both engines, with the same seeded weights and inputs. */
import type { Gpu } from "../../src/gpu/device.ts";
import { copyTensor } from "../../src/gpu/program.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";
import { parseConfig, transformerConfig } from "../../src/models/configs.ts";
import { GraphBuilder } from "../../src/onnx/export/graph.ts";
import { silu } from "../../src/onnx/export/layers.ts";
import { writeModel } from "../../src/onnx/export/mod.ts";
import { jointBlock } from "../../src/onnx/export/transformer.ts";
import { summariseModel } from "../../src/onnx/proto.ts";
import { OnnxGraph } from "../../src/onnx/graph.ts";
import { JointBlock } from "../../src/transformer/joint_block.ts";
import { ModulationBuilder } from "../../src/transformer/modulation.ts";
import { openCheckpoint } from "../../src/weights/checkpoint.ts";
import { WeightPlan } from "../../src/weights/plan.ts";
import { heads as headsOf, transformer as base } from "../foreign/configs.ts";
import { makeNetwork } from "../foreign/make_network.ts";
import { transformerShapes } from "../foreign/shapes.ts";
import { type Files, memorySink } from "../onnx/memory_sink.ts";
import { source } from "../weights/make.ts";

export interface JointBlockShape {
  readonly heads: number;
  readonly headDim: number;
  /** Image and context tokens. */
  readonly tokens: number;
  readonly contextTokens: number;
  /** With a second attention among the image tokens, as the first 13 blocks of SD3.5 medium. */
  readonly dual: boolean;
}

/** SD3.5 medium at 256x256 and 512x512 pixels, 77 + 77 and 77 + 256 tokens of text. */
export const sd35MediumBlocks: readonly JointBlockShape[] = [
  { heads: 24, headDim: 64, tokens: 256, contextTokens: 154, dual: true },
  { heads: 24, headDim: 64, tokens: 1024, contextTokens: 333, dual: true },
];

export interface BlockRun {
  /** Submits one forward of the block; resolves when the device has done it. */
  run(): Promise<void>;
  /** f32 [1, tokens, width] and [1, contextTokens, width] of the last run. */
  readonly hidden: Tensor;
  readonly context: Tensor;
  dispose(): Promise<void>;
}

/** Multiplications and additions of one forward, in FLOP. */
export function blockWork(shape: JointBlockShape): number {
  const { heads, headDim, tokens, contextTokens, dual } = shape;
  const width = heads * headDim;
  const all = tokens + contextTokens;
  const projected = 2 * width * width * (12 * all + (dual ? 4 * tokens : 0));
  const attended = 4 * width * (all * all + (dual ? tokens * tokens : 0));
  const modulated = 2 * width * width * (dual ? 15 : 12);
  return projected + attended + modulated;
}

/** The block on our kernels and as an ONNX graph. */
export async function openJointBlock(
  gpu: Gpu,
  shape: JointBlockShape,
): Promise<{ readonly wgsl: BlockRun; readonly onnx: BlockRun }> {
  const { heads, headDim, tokens, contextTokens, dual } = shape;
  const width = heads * headDim;
  // two layers, since the last one is different
  const made = {
    ...base,
    ...headsOf(heads, headDim),
    num_layers: 2,
    qk_norm: "rms_norm" as const,
    dual_attention_layers: dual ? [0] : [],
  };
  const config = parseConfig(transformerConfig, JSON.stringify(made), "config.json");
  const shapes = [...transformerShapes(made)].filter(([key]) =>
    key.startsWith("transformer_blocks.0.")
  );
  const { files } = makeNetwork(new Map(shapes), { dtype: "F16" });
  const checkpoint = await openCheckpoint(source(files), "");
  const upload = (rows: number, seed: number, label: string) =>
    gpu.upload(noise(rows * width, seed), [1, rows, width], label, "other");
  const hidden = upload(tokens, 1, "hidden");
  const context = upload(contextTokens, 2, "context");
  const temb = gpu.upload(noise(width, 3), [1, width], "temb", "other");
  const end = (rows: number) => gpu.createTensor([1, rows, width], "result", "other");

  const plan = new WeightPlan("joint block");
  const modulationBuilder = new ModulationBuilder(width);
  const block = new JointBlock(config, 0, plan, modulationBuilder);
  const modulation = modulationBuilder.build(plan);
  await plan.load(checkpoint, gpu);
  const rec = gpu.record("joint block");
  const x = rec.alloc(hidden.shape, "x");
  const c = rec.alloc(context.shape, "c");
  const t = rec.alloc(temb.shape, "t");
  block.forward(rec, x, c, modulation, modulation.forward(rec, t));
  const program = await rec.finish();
  const wgsl = { hidden: end(tokens), context: end(contextTokens) };

  const builder = new GraphBuilder("joint block", checkpoint, "f32");
  const [hiddenOut, contextOut] = jointBlock(
    builder,
    builder.input("hidden", "f32", ["batch", "tokens", width]),
    builder.input("context", "f32", ["batch", "sequence", width]),
    silu(builder, builder.input("temb", "f32", ["batch", width])),
    {
      path: "transformer_blocks.0",
      channels: width,
      heads,
      headDim,
      qkNorm: true,
      dual,
      last: false,
    },
  );
  builder.output("hidden_out", hiddenOut, ["batch", "tokens", width]);
  builder.output("context_out", contextOut!, ["batch", "sequence", width]);
  const exported: Files = new Map();
  await writeModel(builder, memorySink(exported), "block");
  const model = exported.get("block/model.onnx")!;
  const float = (name: string, dims: (number | null)[]) => ({ name, dims, kind: "float" }) as const;
  const graph = await OnnxGraph.open(gpu, {
    name: "joint block",
    model,
    summary: summariseModel(model),
    external: [],
  }, {
    inputs: [
      float("hidden", [1, null, width]),
      float("context", [1, null, width]),
      float("temb", [1, width]),
    ],
    outputs: [float("hidden_out", [1, null, width]), float("context_out", [1, null, width])],
  });
  const onnx = { hidden: end(tokens), context: end(contextTokens) };

  return {
    wgsl: {
      ...wgsl,
      run: async () => {
        await gpu.submit("joint block", (encoder) => {
          copyTensor(encoder, hidden, x);
          copyTensor(encoder, context, c);
          copyTensor(encoder, temb, t);
          program.encode(encoder);
          copyTensor(encoder, x, wgsl.hidden);
          copyTensor(encoder, c, wgsl.context);
        });
        await gpu.idle();
      },
      dispose: () => {
        program.dispose();
        plan.dispose();
        gpu.destroyTensor(wgsl.hidden, wgsl.context);
        return Promise.resolve();
      },
    },
    onnx: {
      ...onnx,
      run: async () => {
        await graph.run({ hidden, context, temb }, {
          hidden_out: onnx.hidden,
          context_out: onnx.context,
        });
        await gpu.idle();
      },
      dispose: async () => {
        await graph.dispose();
        gpu.destroyTensor(onnx.hidden, onnx.context, hidden, context, temb);
      },
    },
  };
}

/** Seeded numbers in (-1.7, 1.7). */
function noise(count: number, seed: number): Float32Array<ArrayBuffer> {
  let state = (seed * 2654435761) >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31 - 1) * 1.7;
  });
}
