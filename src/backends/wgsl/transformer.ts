/** The transformer on our own kernels: a step is one program, from the latents to the next ones. */
import type { Gpu } from "../../gpu/device.ts";
import { ProgramCache } from "../../gpu/program_cache.ts";
import { rowsOf, type Tensor } from "../../gpu/tensor.ts";
import type {
  PreparedText,
  Step,
  StepInputs,
  StepShape,
  TransformerComponent,
} from "../../models/sd3/components.ts";
import type { TransformerConfig } from "../../models/sd3/configs.ts";
import type { MMDiT } from "../../models/sd3/transformer/mmdit.ts";
import { record, Recorded } from "../../nn/recorded.ts";
import type { DeclaredWeights } from "../../weights/declared.ts";
import { movedLatents, stepLatents } from "../moved_latents.ts";

/** Shapes kept recorded. */
const textPrograms = 4;
const stepPrograms = 32;

export class WgslTransformer implements TransformerComponent {
  readonly config: TransformerConfig;
  readonly contextWidth: number;
  readonly pooledWidth: number;
  readonly #gpu: Gpu;
  readonly #model: MMDiT;
  readonly #weights: DeclaredWeights;
  readonly #text: Recorded<"promptEmbeds" | "pooled", keyof PreparedText>;
  readonly #steps = new ProgramCache<Step>(stepPrograms);

  constructor(gpu: Gpu, model: MMDiT, weights: DeclaredWeights) {
    this.#gpu = gpu;
    this.#model = model;
    this.#weights = weights;
    this.config = model.config;
    this.contextWidth = this.pooledWidth = model.config.caption_projection_dim;
    this.#text = new Recorded(gpu, {
      ...{ label: "text projection", kept: textPrograms },
      build: (rec, { promptEmbeds, pooled }) => ({
        context: model.embedContext(rec, promptEmbeds),
        pooled: model.embedPooled(rec, pooled),
      }),
    });
  }

  prepareText(promptEmbeds: Tensor, pooled: Tensor, out: PreparedText): Promise<void> {
    return this.#text.run({ promptEmbeds, pooled }, out);
  }

  async step(shape: StepShape): Promise<Step> {
    return await this.#steps.get(JSON.stringify(shape), () => this.#recordStep(shape));
  }

  /** Rows whose largest activation, the feed-forward's, the device binds; at least one. */
  #rowsAtOnce({ height, width, contextLength }: StepShape): number {
    const { patch_size: patch, in_channels, caption_projection_dim: hidden } = this.config;
    const patches = height * width / patch ** 2;
    const widest = Math.max(
      Math.max(patches, contextLength) * 4 * hidden,
      patches * in_channels * patch ** 2,
    );
    const limit = this.#gpu.limits.maxStorageBufferBindingSize;
    return Math.max(1, Math.floor(limit / (4 * widest)));
  }

  async #recordStep(shape: StepShape): Promise<Step> {
    const { height, width, contextLength, rows, skipRows, skipLayers } = shape;
    const channels = this.config.in_channels;
    const { program, ends } = await record(this.#gpu, `step ${height}x${width} x${rows}`, (rec) => {
      const inputs = (n: number, take: "input" | "alloc" = "input"): StepInputs => ({
        latents: rec[take]([n, channels, height, width], "latents"),
        timesteps: rec[take]([n], "timesteps"),
        context: rec[take]([n, contextLength, this.contextWidth], "context"),
        pooled: rec[take]([n, this.pooledWidth], "pooled"),
      });
      const main = inputs(rows);
      const skipInputs = skipRows ? inputs(skipRows) : undefined;
      const moved = movedLatents(shape, channels, rec.input.bind(rec));
      /** In passes of as many rows as the device binds, which changes no row's result. */
      const predict = (io: StepInputs, n: number, skip: readonly number[] = []): Tensor => {
        const most = this.#rowsAtOnce(shape);
        if (n <= most) return this.#model.forward(rec, io, skip);
        const all = rec.alloc([n, channels, height, width], "velocities");
        for (let row = 0; row < n; row += most) {
          const rows = Math.min(most, n - row);
          const part = inputs(rows, "alloc");
          for (const key of ["latents", "timesteps", "context", "pooled"] as const) {
            rec.copy(rowsOf(io[key], row, rows), part[key]);
          }
          const velocity = this.#model.forward(rec, part, skip);
          rec.copy(velocity, rowsOf(all, row, rows));
        }
        return all;
      };
      let velocity = predict(main, rows);
      if (skipInputs) {
        const skipped = predict(skipInputs, skipRows, skipLayers);
        const all = rec.alloc([rows + skipRows, ...velocity.shape.slice(1)], "velocities");
        rec.copy(velocity, rowsOf(all, 0, rows));
        rec.copy(skipped, rowsOf(all, rows, skipRows));
        velocity = all;
      }
      stepLatents(rec, moved, velocity);
      return { inputs: main, skipInputs, ...moved };
    });
    return {
      ...ends,
      record: async ({ before, after, write }) => {
        const commands = await this.#gpu.commands("step", (encoder) => {
          before(encoder);
          program.replay(encoder);
          after(encoder);
        });
        return { submit: () => commands.submit(write) };
      },
      dispose: () => program.dispose(),
    };
  }

  dispose(): void {
    this.#text.dispose();
    this.#steps.dispose();
    this.#weights.dispose();
  }
}
