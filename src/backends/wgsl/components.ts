/**
 * The networks on our own kernels, as the pipeline's components: each keeps its recorded programs by
 * shape and moves inputs and outputs in and out of the arena within one submit.
 */
import type { Gpu } from "../../gpu/device.ts";
import { copyTensor, type Program } from "../../gpu/program.ts";
import { ProgramCache } from "../../gpu/program_cache.ts";
import { rowsOf, type Tensor } from "../../gpu/tensor.ts";
import type { TransformerConfig, VaeConfig } from "../../models/sd3/configs.ts";
import { guidedStep, wordsPerStep } from "../../ops/guided_step.ts";
import type { ClipTextModel } from "../../models/sd3/text_encoders/clip.ts";
import type { T5Encoder } from "../../models/sd3/text_encoders/t5.ts";
import type { MMDiT } from "../../models/sd3/transformer/mmdit.ts";
import type { VaeDecoder } from "../../models/sd3/vae/decoder.ts";
import type { VaeEncoder } from "../../models/sd3/vae/encoder.ts";
import type { WeightPlan } from "../../weights/plan.ts";
import type {
  ClipComponent,
  DecoderComponent,
  EncoderComponent,
  PreparedText,
  Step,
  StepInputs,
  StepShape,
  T5Component,
  TransformerComponent,
} from "../../models/sd3/components.ts";

/** A recorded program with its ends in the arena. */
interface Recorded<Io> {
  readonly program: Program;
  readonly io: Io;
  dispose(): void;
}

/** Shapes kept recorded; a recording is host work only, its kernels stay compiled. */
const textPrograms = 4;
const stepPrograms = 32;
const imagePrograms = 4;

async function record<Io>(
  gpu: Gpu,
  label: string,
  build: (rec: ReturnType<Gpu["record"]>) => Io,
): Promise<Recorded<Io>> {
  let rec = gpu.record(label);
  let io = build(rec);
  if (await rec.decide()) {
    rec = gpu.record(label);
    io = build(rec);
  }
  const program = await rec.finish();
  return { program, io, dispose: () => program.dispose() };
}

export class WgslClip implements ClipComponent {
  readonly hiddenSize: number;
  readonly projectionDim: number;
  readonly #gpu: Gpu;
  readonly #model: ClipTextModel;
  readonly #plan: WeightPlan;
  readonly #programs = new ProgramCache<
    Recorded<{ ids: Tensor; pooling: Tensor; penultimate: Tensor; pooled: Tensor }>
  >(textPrograms);

  constructor(gpu: Gpu, model: ClipTextModel, plan: WeightPlan) {
    this.#gpu = gpu;
    this.#model = model;
    this.#plan = plan;
    this.hiddenSize = model.config.hidden_size;
    this.projectionDim = model.config.projection_dim;
  }

  async encode(ids: Int32Array<ArrayBuffer>, out: { penultimate: Tensor; pooled: Tensor }) {
    const { program, io } = await this.#programs.get(
      `${ids.length}`,
      () =>
        record(this.#gpu, "clip", (rec) => {
          const input = rec.input([1, ids.length], "ids", "u32");
          const pooling = rec.input([1], "pooling", "u32");
          return { ids: input, pooling, ...this.#model.forward(rec, input, pooling) };
        }),
    );
    await this.#gpu.submit("clip", (encoder) => {
      this.#gpu.write(io.ids, ids);
      this.#gpu.write(io.pooling, new Uint32Array([this.#model.poolingIndex(ids)]));
      program.encode(encoder);
      copyTensor(encoder, io.penultimate, out.penultimate);
      copyTensor(encoder, io.pooled, out.pooled);
    });
  }

  dispose(): void {
    this.#programs.dispose();
    this.#plan.dispose();
  }
}

export class WgslT5 implements T5Component {
  readonly hiddenSize: number;
  readonly #gpu: Gpu;
  readonly #model: T5Encoder;
  readonly #plan: WeightPlan;
  readonly #programs = new ProgramCache<Recorded<{ ids: Tensor; hidden: Tensor }>>(textPrograms);

  constructor(gpu: Gpu, model: T5Encoder, plan: WeightPlan) {
    this.#gpu = gpu;
    this.#model = model;
    this.#plan = plan;
    this.hiddenSize = model.config.d_model;
  }

  async encode(ids: Int32Array<ArrayBuffer>, out: Tensor): Promise<void> {
    const { program, io } = await this.#programs.get(
      `${ids.length}`,
      () => this.#record(ids.length),
    );
    await this.#gpu.submit("t5", (encoder) => {
      this.#gpu.write(io.ids, ids);
      program.encode(encoder);
      copyTensor(encoder, io.hidden, out);
    });
  }

  dispose(): void {
    this.#programs.dispose();
    this.#plan.dispose();
  }

  /** The table of relative positions is made for one length: it goes with its program. */
  async #record(length: number): Promise<Recorded<{ ids: Tensor; hidden: Tensor }>> {
    const table = await this.#model.relativeBias(this.#gpu, length);
    try {
      const recorded = await record(this.#gpu, "t5", (rec) => {
        const input = rec.input([1, length], "ids", "u32");
        return { ids: input, hidden: this.#model.forward(rec, input, table) };
      });
      return {
        ...recorded,
        dispose: () => {
          recorded.dispose();
          this.#gpu.destroyTensor(table);
        },
      };
    } catch (error) {
      this.#gpu.destroyTensor(table);
      throw error;
    }
  }
}

export class WgslTransformer implements TransformerComponent {
  readonly config: TransformerConfig;
  readonly contextWidth: number;
  readonly pooledWidth: number;
  readonly #gpu: Gpu;
  readonly #model: MMDiT;
  readonly #plan: WeightPlan;
  readonly #text = new ProgramCache<
    Recorded<{ embeds: Tensor; pooledIn: Tensor; context: Tensor; pooled: Tensor }>
  >(textPrograms);
  readonly #steps = new ProgramCache<Step>(stepPrograms);

  constructor(gpu: Gpu, model: MMDiT, plan: WeightPlan) {
    this.#gpu = gpu;
    this.#model = model;
    this.#plan = plan;
    this.config = model.config;
    this.contextWidth = this.pooledWidth = model.config.caption_projection_dim;
  }

  async prepareText(promptEmbeds: Tensor, pooled: Tensor, out: PreparedText): Promise<void> {
    const { program, io } = await this.#text.get(
      `${promptEmbeds.shape[1]}`,
      () =>
        record(this.#gpu, "text projection", (rec) => {
          const embeds = rec.input(promptEmbeds.shape, "prompt_embeds");
          const pooledIn = rec.input(pooled.shape, "pooled_prompt_embeds");
          const context = this.#model.embedContext(rec, embeds);
          return { embeds, pooledIn, context, pooled: this.#model.embedPooled(rec, pooledIn) };
        }),
    );
    await this.#gpu.submit("text projection", (encoder) => {
      copyTensor(encoder, promptEmbeds, io.embeds);
      copyTensor(encoder, pooled, io.pooledIn);
      program.encode(encoder);
      copyTensor(encoder, io.context, out.context);
      copyTensor(encoder, io.pooled, out.pooled);
    });
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
    const { height, width, contextLength, samples: count, rows, skipRows, skipLayers } = shape;
    const channels = this.config.in_channels;
    const { program, io } = await record(this.#gpu, `step ${height}x${width} x${rows}`, (rec) => {
      const inputs = (n: number, alloc: typeof rec.alloc = rec.input.bind(rec)): StepInputs => ({
        latents: alloc([n, channels, height, width], "latents"),
        timesteps: alloc([n], "timesteps"),
        context: alloc([n, contextLength, this.contextWidth], "context"),
        pooled: alloc([n, this.pooledWidth], "pooled"),
      });
      const main = inputs(rows);
      const skipInputs = skipRows ? inputs(skipRows) : undefined;
      const samples = rec.input([count, channels, height, width], "samples");
      const records = rec.input([count, wordsPerStep], "records", "u32");
      const noise = shape.noise ? rec.input(samples.shape, "noise") : undefined;
      /** In passes of as many rows as the device binds, which changes no row's result. */
      const predict = (io: StepInputs, n: number, skip: readonly number[] = []): Tensor => {
        const most = this.#rowsAtOnce(shape);
        if (n <= most) return this.#model.forward(rec, io, skip);
        const all = rec.alloc([n, channels, height, width], "velocities");
        for (let row = 0; row < n; row += most) {
          const rows = Math.min(most, n - row);
          const part = inputs(rows, rec.alloc.bind(rec));
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
      guidedStep(rec, { latents: samples, velocity, noise, steps: records, label: "step" });
      return { inputs: main, skipInputs, samples, records, noise };
    });
    return {
      ...io,
      encode: async ({ before, after, write }) => {
        const commands = await this.#gpu.encode("step", (encoder) => {
          before(encoder);
          program.encode(encoder);
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
    this.#plan.dispose();
  }
}

export class WgslDecoder implements DecoderComponent {
  readonly config: VaeConfig;
  readonly maxArea: number;
  readonly bytesPerLatent: number;
  readonly #gpu: Gpu;
  readonly #model: VaeDecoder;
  readonly #plan: WeightPlan;
  readonly #programs = new ProgramCache<Recorded<{ input: Tensor; output: Tensor }>>(
    imagePrograms,
  );

  constructor(gpu: Gpu, model: VaeDecoder, plan: WeightPlan) {
    this.#gpu = gpu;
    this.#model = model;
    this.#plan = plan;
    this.config = model.config;
    const widest = widestPerLatent(model.config);
    this.maxArea = Math.floor(gpu.limits.maxStorageBufferBindingSize / widest);
    this.bytesPerLatent = widest * (activationsAlive + Number(gpu.prefersTextures));
  }

  async decode(latents: Tensor, out: Tensor): Promise<void> {
    const { program, io } = await this.#programs.get(
      `${latents.shape}`,
      () =>
        record(this.#gpu, `decode ${latents.shape.slice(2).join("x")}`, (rec) => {
          const input = rec.input(latents.shape, "latents");
          return { input, output: this.#model.forward(rec, input) };
        }),
    );
    await this.#gpu.submit("decode", (encoder) => {
      copyTensor(encoder, latents, io.input);
      program.encode(encoder);
      copyTensor(encoder, io.output, out);
    });
  }

  dispose(): void {
    this.#programs.dispose();
    this.#plan.dispose();
  }
}

/**
 * Arena of a decode in its largest activations, without the copy in a texture that some devices
 * read; a test compares it with recorded decoders.
 */
const activationsAlive = 3.25;

/** Bytes of the largest activation for each latent pixel: some level's width at its resolution. */
function widestPerLatent({ block_out_channels }: VaeConfig): number {
  const widths = block_out_channels.toReversed();
  // The first resnet of level i reads the upsampled output of level i - 1.
  return Math.max(...widths.map((width, i) => 4 ** i * Math.max(width, widths[i - 1] ?? 0))) * 4;
}

export class WgslEncoder implements EncoderComponent {
  readonly config: VaeConfig;
  readonly #gpu: Gpu;
  readonly #model: VaeEncoder;
  readonly #plan: WeightPlan;
  readonly #programs = new ProgramCache<Recorded<{ input: Tensor; moments: Tensor }>>(
    imagePrograms,
  );

  constructor(gpu: Gpu, model: VaeEncoder, plan: WeightPlan) {
    this.#gpu = gpu;
    this.#model = model;
    this.#plan = plan;
    this.config = model.config;
  }

  async encode(image: Tensor, out: Tensor): Promise<void> {
    const { program, io } = await this.#programs.get(
      `${image.shape}`,
      () =>
        record(this.#gpu, `encode ${image.shape.slice(2).join("x")}`, (rec) => {
          const input = rec.input(image.shape, "image");
          return { input, moments: this.#model.forward(rec, input) };
        }),
    );
    await this.#gpu.submit("encode", (encoder) => {
      copyTensor(encoder, image, io.input);
      program.encode(encoder);
      copyTensor(encoder, io.moments, out);
    });
  }

  dispose(): void {
    this.#programs.dispose();
    this.#plan.dispose();
  }
}
