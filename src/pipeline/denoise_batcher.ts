/**
 * One loop for all requests: each turn it runs the next step of every sample that shares a shape, as
 * one batch. Samples join and leave between any two steps; each keeps its own timestep, guidance and
 * text, and its latents stay on the GPU.
 *
 * Turns go round the groups by deficit round robin (Shreedhar and Varghese, 1996), counted in tokens,
 * so that many requests of one size cannot starve another size: a group that waits gains as much
 * device time as the one that runs.
 */
import type { Gpu } from "../gpu/device.ts";
import { copyTensor } from "../gpu/program.ts";
import { rowsOf, type Tensor } from "../gpu/tensor.ts";
import type { PreparedText, Step, StepInputs, TransformerComponent } from "../models/components.ts";
import { type GuidedStepRecord, packSteps } from "../ops/guided_step.ts";
import type { SkipLayerGuidance } from "./types.ts";

/** What the scheduler says of one step; see `GuidedStepRecord` for the coefficients' formula. */
export interface ScheduledStep {
  readonly timestep: number;
  readonly sigma: number;
  readonly sample: number;
  readonly velocity: number;
  readonly noise: number;
}

/** One image on its way: plain state of its request, moved forward by the loop. */
export interface Sample {
  /** f32 [1, C, h, w], owned by the request; holds the result in the end. */
  readonly latents: Tensor;
  readonly text: PreparedText;
  /** Absent without guidance. */
  readonly negativeText?: PreparedText | undefined;
  readonly guidanceScale: number;
  readonly skipLayerGuidance?: SkipLayerGuidance | undefined;
  readonly steps: readonly ScheduledStep[];
  /** Fresh noise for a step whose `noise` coefficient is not 0. */
  readonly drawNoise?: (() => Float32Array<ArrayBuffer>) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Where the latents after this step (counted from 1) are copied to, for a preview. */
  readonly snapshot?: ((step: number) => Tensor | undefined) | undefined;
  /** After each step, counted from 1, when the device has done it. A throw ends the sample. */
  readonly onStep?: ((step: number) => void) | undefined;
}

interface Running {
  readonly sample: Sample;
  readonly done: PromiseWithResolvers<void>;
  /** Index of the step that is submitted next. */
  next: number;
}

/** Samples whose next step has one shape, in the order of their turns. */
interface Group {
  readonly key: string;
  /** Patches of one image: what a sample's step costs, up to a factor. */
  readonly tokens: number;
  members: Running[];
  deficit: number;
}

export interface BatcherOptions {
  /** Most samples in one step of images of this many tokens. */
  readonly maxBatch: (tokens: number) => number;
  /** Hears how long each step took. */
  readonly onTurn?: ((turn: TurnReport) => void) | undefined;
}

export interface TurnReport {
  readonly samples: number;
  readonly tokens: number;
  /** Seconds of host work until the step was submitted. */
  readonly host: number;
  /** Seconds from the submit to its end, including what was queued before it. */
  readonly device: number;
}

/** Steps submitted and not yet known to be done: one runs while the next is encoded. */
const stepsInFlight = 2;

export class DenoiseBatcher {
  readonly #gpu: Gpu;
  readonly #transformer: TransformerComponent;
  readonly #options: BatcherOptions;
  /** In the order of their turns. */
  #groups: Group[] = [];
  #looping = false;

  constructor(gpu: Gpu, transformer: TransformerComponent, options: BatcherOptions) {
    this.#gpu = gpu;
    this.#transformer = transformer;
    this.#options = options;
  }

  /** Samples on their way. */
  get active(): number {
    return this.#groups.reduce((sum, group) => sum + group.members.length, 0);
  }

  /** Most samples in one step of images of this many tokens. */
  maxBatch(tokens: number): number {
    return this.#options.maxBatch(tokens);
  }

  /**
   * Takes a sample through all its steps. Rejects with its signal's reason within one step of an
   * abort, or with the GPU error that its own steps caused.
   */
  denoise(sample: Sample): Promise<void> {
    if (sample.signal?.aborted) return Promise.reject(sample.signal.reason);
    if (sample.steps.length === 0) return Promise.resolve();
    const running: Running = { sample, done: Promise.withResolvers<void>(), next: 0 };
    this.#join(running);
    if (!this.#looping) {
      this.#looping = true;
      // Not at once, so that the samples of one burst of requests start together.
      setTimeout(() => this.#loop(), 0);
    }
    return running.done.promise;
  }

  async #loop(): Promise<void> {
    const inFlight: Promise<void>[] = [];
    for (;;) {
      this.#dropAborted();
      const group = this.#nextGroup();
      if (group) {
        const batch = group.members.slice(0, this.#batchSize(group));
        const turn = await this.#turn(batch);
        if (turn) inFlight.push(turn);
      } else if (inFlight.length === 0) break;
      if (!group || inFlight.length >= stepsInFlight) await inFlight.shift();
    }
    this.#looping = false;
  }

  /** Deficit round robin: the group whose turn it is. */
  #nextGroup(): Group | undefined {
    if (this.#groups.length === 0) return undefined;
    // Each round gives every group what the cheapest batch costs, so one of them can always go.
    const quantum = Math.min(...this.#groups.map((group) => this.#cost(group)));
    for (;;) {
      const group = this.#groups.shift()!;
      this.#groups.push(group);
      group.deficit += quantum;
      if (group.deficit < this.#cost(group)) continue;
      group.deficit -= this.#cost(group);
      return group;
    }
  }

  #batchSize(group: Group): number {
    return Math.max(1, Math.min(group.members.length, this.#options.maxBatch(group.tokens)));
  }

  #cost(group: Group): number {
    return group.tokens * this.#batchSize(group);
  }

  /**
   * Submits one step of every sample in `batch`. Returns a promise of the step's end, or nothing if
   * no sample could be submitted.
   */
  async #turn(batch: readonly Running[]): Promise<Promise<void> | undefined> {
    const started = performance.now();
    try {
      await this.#submit(batch);
    } catch (error) {
      // Nothing of a failed command buffer was executed: find out whose fault it was, one by one.
      if (batch.length === 1) {
        this.#leave(batch[0]!);
        batch[0]!.done.reject(error);
        return undefined;
      }
      const turns = [];
      for (const running of batch) turns.push(await this.#turn([running]));
      return Promise.all(turns).then(() => {});
    }
    const submitted = performance.now();
    const steps = batch.map((running) => ++running.next);
    // Back of the queue. A group keeps its deficit though all its members go and come back.
    for (const running of batch) {
      this.#detach(running);
      if (running.next < running.sample.steps.length) this.#join(running);
    }
    this.#prune();
    return this.#end(batch, steps, started, submitted);
  }

  /** Waits for the device, then tells the samples. */
  async #end(batch: readonly Running[], steps: readonly number[], started: number, sent: number) {
    try {
      await this.#gpu.idle();
    } catch (error) {
      for (const running of batch) this.#fail(running, error);
      return;
    }
    const tokens = this.#tokens(batch[0]!.sample.latents);
    this.#options.onTurn?.({
      samples: batch.length,
      tokens,
      host: (sent - started) / 1000,
      device: (performance.now() - sent) / 1000,
    });
    for (const [i, running] of batch.entries()) {
      const { sample, done } = running;
      try {
        if (!sample.signal?.aborted) sample.onStep?.(steps[i]!);
        if (steps[i] === sample.steps.length) done.resolve();
      } catch (error) {
        this.#fail(running, error);
      }
    }
  }

  #fail(running: Running, error: unknown): void {
    this.#leave(running);
    running.done.reject(error);
  }

  #dropAborted(): void {
    for (const { members } of [...this.#groups]) {
      for (const running of members.filter(({ sample }) => sample.signal?.aborted)) {
        this.#fail(running, running.sample.signal!.reason);
      }
    }
  }

  #join(running: Running): void {
    const { latents, text } = running.sample;
    const skip = skipLayers(running);
    const key = [latents.shape.slice(1), text.context.shape[1], skip].join("/");
    let group = this.#groups.find((g) => g.key === key);
    if (!group) {
      group = {
        key,
        tokens: this.#tokens(latents) * (skip.length ? 2 : 1),
        members: [],
        deficit: 0,
      };
      this.#groups.push(group);
    }
    group.members.push(running);
  }

  #leave(running: Running): void {
    this.#detach(running);
    this.#prune();
  }

  #detach(running: Running): void {
    for (const group of this.#groups) {
      group.members = group.members.filter((member) => member !== running);
    }
  }

  #prune(): void {
    this.#groups = this.#groups.filter((group) => group.members.length > 0);
  }

  #tokens(latents: Tensor): number {
    const { patch_size: patch } = this.#transformer.config;
    return latents.shape[2]! * latents.shape[3]! / (patch * patch);
  }

  async #submit(batch: readonly Running[]): Promise<void> {
    const [first] = batch;
    const { latents, text } = first!.sample;
    const skip = skipLayers(first!);
    const layout = layOut(batch, skip.length > 0);
    const step = await this.#transformer.step({
      height: latents.shape[2]!,
      width: latents.shape[3]!,
      contextLength: text.context.shape[1]!,
      samples: batch.length,
      rows: layout.rows.length,
      skipRows: layout.skipRows.length,
      skipLayers: skip,
      noise: batch.some((running) => current(running).noise !== 0),
    });
    await step.run(
      (encoder) => {
        this.#fill(encoder, step.inputs, layout.rows);
        if (step.skipInputs) this.#fill(encoder, step.skipInputs, layout.skipRows);
        this.#gpu.write(step.records, packSteps(layout.records));
        for (const [i, { sample }] of batch.entries()) {
          copyTensor(encoder, sample.latents, rowsOf(step.samples, i));
        }
        this.#writeNoise(step, batch);
      },
      (encoder) => {
        for (const [i, { sample, next }] of batch.entries()) {
          copyTensor(encoder, rowsOf(step.samples, i), sample.latents);
          const snapshot = sample.snapshot?.(next + 1);
          if (snapshot) copyTensor(encoder, sample.latents, snapshot);
        }
      },
    );
  }

  #fill(encoder: GPUCommandEncoder, inputs: StepInputs, rows: readonly Row[]): void {
    const timesteps = new Float32Array(rows.map(({ running }) => current(running).timestep));
    this.#gpu.write(inputs.timesteps, timesteps);
    for (const [i, { running, text }] of rows.entries()) {
      copyTensor(encoder, running.sample.latents, rowsOf(inputs.latents, i));
      copyTensor(encoder, text.context, rowsOf(inputs.context, i));
      copyTensor(encoder, text.pooled, rowsOf(inputs.pooled, i));
    }
  }

  #writeNoise({ noise }: Step, batch: readonly Running[]): void {
    if (!noise) return;
    for (const [i, running] of batch.entries()) {
      const drawn = current(running).noise === 0 ? undefined : running.sample.drawNoise?.();
      if (drawn) this.#gpu.write(rowsOf(noise, i), drawn);
    }
  }
}

/** One row of a prediction. */
interface Row {
  readonly running: Running;
  readonly text: PreparedText;
}

interface Layout {
  readonly rows: readonly Row[];
  readonly skipRows: readonly Row[];
  readonly records: readonly GuidedStepRecord[];
}

/** Which rows a batch needs, and where each sample finds its own. */
function layOut(batch: readonly Running[], withSkip: boolean): Layout {
  const rows: Row[] = [];
  const places = batch.map((running) => {
    const { text, negativeText } = running.sample;
    const conditional = rows.push({ running, text }) - 1;
    const unconditional = negativeText && rows.push({ running, text: negativeText }) - 1;
    return { conditional, unconditional };
  });
  const skipRows = withSkip ? batch.map((running) => ({ running, text: running.sample.text })) : [];
  const records = batch.map((running, i) => {
    const { sample } = running;
    const { sample: keep, velocity, noise } = current(running);
    return {
      ...places[i]!,
      skipped: withSkip ? rows.length + i : undefined,
      guidance: sample.guidanceScale,
      skipScale: sample.skipLayerGuidance?.scale ?? 0,
      sample: keep,
      velocity,
      noise,
    };
  });
  return { rows, skipRows, records };
}

function current({ sample, next }: Running): ScheduledStep {
  return sample.steps[next]!;
}

/** Layers that the next step also predicts without; diffusers applies them under guidance only. */
function skipLayers({ sample, next }: Running): readonly number[] {
  const { skipLayerGuidance: skip, negativeText, steps } = sample;
  if (!skip || !negativeText) return [];
  const active = next > steps.length * skip.start && next < steps.length * skip.stop;
  return active ? skip.layers : [];
}
