/**
 * The SD3 transformer as an ONNX graph. Rows of a step run one after another, each as a batch of
 * one: onnxruntime picks kernels by the whole matrix, batch included, so only this keeps an image
 * the same whatever runs beside it.
 */
import type { Gpu } from "../../gpu/device.ts";
import { copyTensor } from "../../gpu/program.ts";
import { ProgramCache } from "../../gpu/program_cache.ts";
import { type DType, rowsOf, type Tensor } from "../../gpu/tensor.ts";
import type {
  PreparedText,
  Step,
  StepInputs,
  StepShape,
  TransformerComponent,
} from "../../models/sd3/components.ts";
import type { TransformerConfig } from "../../models/sd3/configs.ts";
import { movedLatents, stepLatents } from "../moved_latents.ts";
import { InvalidRequestError } from "../../requests/errors.ts";
import type { Graph, GraphKind } from "./graph.ts";
import { tokenActivations } from "./activations.ts";

/** Steps whose buffers are kept. */
const keptSteps = 4;

class OnnxTransformer implements TransformerComponent {
  readonly config: TransformerConfig;
  readonly contextWidth: number;
  readonly pooledWidth: number;
  readonly #gpu: Gpu;
  readonly #graph: Graph;
  readonly #steps = new ProgramCache<Step>(keptSteps);

  constructor(gpu: Gpu, config: TransformerConfig, graph: Graph) {
    this.#gpu = gpu;
    this.#graph = graph;
    this.config = config;
    this.contextWidth = config.joint_attention_dim;
    this.pooledWidth = config.pooled_projection_dim;
  }

  /** The graph projects the prompt itself, at every step. */
  async prepareText(promptEmbeds: Tensor, pooled: Tensor, out: PreparedText): Promise<void> {
    await this.#gpu.submit("text", (encoder) => {
      copyTensor(encoder, promptEmbeds, out.context);
      copyTensor(encoder, pooled, out.pooled);
    });
  }

  /** @throws {InvalidRequestError} for skip-layer guidance: a graph cannot leave layers out */
  async step(shape: StepShape): Promise<Step> {
    if (shape.skipRows > 0) {
      throw new InvalidRequestError(
        "skip_guidance_layers",
        "Skip-layer guidance needs the WGSL backend: an ONNX transformer always runs all its layers",
      );
    }
    return await this.#steps.get(JSON.stringify(shape), () => this.#makeStep(shape));
  }

  async #makeStep(shape: StepShape): Promise<Step> {
    const gpu = this.#gpu;
    const { height, width, contextLength, rows } = shape;
    const channels = this.config.in_channels;
    const made: Tensor[] = [];
    const tensor = (dims: readonly number[], label: string, dtype: DType = "f32") => {
      const next = gpu.createTensor(dims, `onnx/${label}`, "arena", dtype);
      made.push(next);
      return next;
    };
    const inputs = (n: number): StepInputs => ({
      latents: tensor([n, channels, height, width], "latents"),
      timesteps: tensor([n], "timesteps"),
      context: tensor([n, contextLength, this.contextWidth], "context"),
      pooled: tensor([n, this.pooledWidth], "pooled"),
    });
    const all = inputs(rows);
    const row = rows === 1 ? all : inputs(1);
    const velocity = tensor([rows, channels, height, width], "velocity");
    const moved = movedLatents(shape, channels, tensor);
    const rec = gpu.record("onnx step");
    stepLatents(rec, moved, velocity);
    const program = await rec.finish();
    return {
      inputs: all,
      ...moved,
      // onnxruntime records and submits in one call.
      record: ({ before, after, write }) => {
        const submit = async () => {
          await gpu.submit("onnx step/inputs", (encoder) => {
            write();
            before(encoder);
          });
          for (let i = 0; i < rows; i++) {
            if (rows > 1) {
              await gpu.submit("onnx step/row", (encoder) => copyRow(encoder, all, i, row));
            }
            await this.#graph.run(
              {
                hidden_states: row.latents,
                encoder_hidden_states: row.context,
                pooled_projections: row.pooled,
                timestep: row.timesteps,
              },
              { out_hidden_states: rowsOf(velocity, i) },
            );
          }
          await gpu.submit("onnx step/scheduler", (encoder) => {
            program.replay(encoder);
            after(encoder);
          });
        };
        return Promise.resolve({ submit });
      },
      dispose: () => {
        program.dispose();
        gpu.destroyTensor(...made);
      },
    };
  }

  async dispose(): Promise<void> {
    this.#steps.dispose();
    await this.#graph.dispose();
  }
}

function copyRow(encoder: GPUCommandEncoder, all: StepInputs, i: number, row: StepInputs): void {
  for (const key of ["latents", "timesteps", "context", "pooled"] as const) {
    copyTensor(encoder, rowsOf(all[key], i), row[key]);
  }
}

const float = (name: string, dims: (number | null)[], aliases: string[] = []) =>
  ({ name, aliases, dims, kind: "float" }) as const;

export const transformerGraph: GraphKind<TransformerConfig, TransformerComponent> = {
  ends: ({ in_channels, out_channels, joint_attention_dim, pooled_projection_dim }) => ({
    inputs: [
      float("hidden_states", [1, in_channels, null, null]),
      float("encoder_hidden_states", [1, null, joint_attention_dim]),
      float("pooled_projections", [1, pooled_projection_dim]),
      float("timestep", [1]),
    ],
    outputs: [float("out_hidden_states", [1, out_channels, null, null], ["out_sample"])],
  }),
  make: (gpu, config, graph) => new OnnxTransformer(gpu, config, graph),
  activations(config, { hidden_states, encoder_hidden_states }) {
    const { patch_size, num_attention_heads: heads, caption_projection_dim: width } = config;
    const [, , rows, columns] = (hidden_states as Tensor).shape as [number, number, number, number];
    const image = rows * columns / (patch_size * patch_size);
    const context = (encoder_hidden_states as Tensor).shape[1]!;
    return tokenActivations(image + context, width, heads);
  },
};
