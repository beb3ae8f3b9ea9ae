/**
 * One loop for all requests: each turn it runs the next step of every sample that shares a shape, as
 * one batch. Samples join and leave between any two steps; each keeps its own timestep, guidance and
 * text, and its latents stay on the GPU. `TurnOrder` says whose turn it is, counted in tokens.
 */
import type { Gpu } from "../gpu/device.ts";
import { copyTensor } from "../gpu/program.ts";
import { rowsOf, type Tensor } from "../gpu/tensor.ts";
import type { PreparedText, Step, StepInputs, TransformerComponent } from "../models/components.ts";
import { type GuidedStepRecord, packSteps } from "../ops/guided_step.ts";
import { TurnOrder } from "./turn_order.ts";
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
  /** Drawn for the next step: kept until the step is submitted, so that a second try has the same. */
  noise?: Float32Array<ArrayBuffer> | undefined;
  /** Settled: takes part in no further step. */
  over: boolean;
}

export interface BatcherOptions {
  /** Most samples in one step of images of this many tokens. */
  readonly maxBatch: (tokens: number) => number;
  /** Hears how long each step took. A throw ends the samples of that step. */
  readonly onTurn?: ((turn: TurnReport) => void) | undefined;
}

/** One step of a batch. Times are in seconds. */
export interface TurnReport {
  readonly samples: number;
  /** Rows of the prediction: more than samples under guidance. */
  readonly rows: number;
  /** Patches of one image. */
  readonly tokens: number;
  /** Host work until the step was submitted, the recording of a new shape included. */
  readonly host: number;
  /** From the submit to its end, including what was queued before it. */
  readonly device: number;
  /** From the submit, or from the end of the step before if that came later, to its end. */
  readonly step: number;
}

/** Steps submitted and not yet known to be done: one runs while the next is encoded. */
const stepsInFlight = 2;

export class DenoiseBatcher {
  readonly #gpu: Gpu;
  readonly #transformer: TransformerComponent;
  readonly #options: BatcherOptions;
  readonly #order = new TurnOrder<Running>();
  /** Samples of the turn that is being submitted. */
  #submitting = 0;
  #looping = false;
  /** When the last step ended. */
  #lastEnd = 0;

  constructor(gpu: Gpu, transformer: TransformerComponent, options: BatcherOptions) {
    this.#gpu = gpu;
    this.#transformer = transformer;
    this.#options = options;
  }

  /** Samples with steps left to submit. */
  get active(): number {
    return this.#order.size + this.#submitting;
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
    const done = Promise.withResolvers<void>();
    this.#queue({ sample, done, next: 0, over: false });
    if (!this.#looping) {
      this.#looping = true;
      // Not at once, so that the samples of one burst of requests start together.
      setTimeout(() => this.#loop(), 0);
    }
    return done.promise;
  }

  async #loop(): Promise<void> {
    const inFlight: Promise<void>[] = [];
    for (;;) {
      this.#dropAborted();
      const batch = this.#order.next();
      if (batch) {
        this.#submitting = batch.length;
        inFlight.push(...await this.#turn(batch));
        this.#submitting = 0;
        for (const running of batch) {
          if (running.next < running.sample.steps.length) this.#queue(running);
        }
      } else if (inFlight.length === 0) break;
      while (inFlight.length >= (batch ? stepsInFlight : 1)) await inFlight.shift();
    }
    this.#looping = false;
  }

  /** Back of its group's queue. A sample's group changes where its steps do. */
  #queue(running: Running): void {
    if (running.over) return;
    const { latents, text } = running.sample;
    const tokens = this.#tokens(latents);
    const skip = skipLayers(running);
    this.#order.add(running, {
      key: [latents.shape.slice(1), text.context.shape[1], skip].join("/"),
      cost: tokens * (skip.length ? 2 : 1),
      limit: () => this.#options.maxBatch(tokens),
    });
  }

  #dropAborted(): void {
    for (const running of [...this.#order]) {
      if (running.sample.signal?.aborted) this.#fail(running, running.sample.signal.reason);
    }
  }

  #fail(running: Running, error: unknown): void {
    running.over = true;
    this.#order.remove(running);
    running.done.reject(error);
  }

  /**
   * Submits one step of every sample in `batch`, together if that works. Returns promises of the
   * submitted steps' ends, which never reject.
   */
  async #turn(batch: readonly Running[]): Promise<Promise<void>[]> {
    const together = await this.#attempt(batch);
    if (together.end) return [together.end];
    // Nothing of a failed command buffer was executed: find out whose fault it was, one by one. A
    // sample alone has its second try, too, since the device may have complained of another's work.
    const ends: Promise<void>[] = [];
    for (const running of batch) {
      const { end, error } = await this.#attempt([running]);
      if (end) ends.push(end);
      else this.#fail(running, error);
    }
    return ends;
  }

  async #attempt(given: readonly Running[]): Promise<{ end?: Promise<void>; error?: unknown }> {
    const started = performance.now();
    // A report of the step before may have ended a sample in the meantime.
    const batch = given.filter(({ over }) => !over);
    if (batch.length === 0) return { end: Promise.resolve() };
    let rows;
    try {
      rows = await this.#submit(batch);
    } catch (error) {
      return { error };
    }
    const steps = batch.map((running) => {
      running.noise = undefined;
      return ++running.next;
    });
    return { end: this.#end(batch, steps, rows, started) };
  }

  /** Waits for the device, then tells the samples. */
  async #end(
    batch: readonly Running[],
    steps: readonly number[],
    rows: number,
    started: number,
  ): Promise<void> {
    const sent = performance.now();
    try {
      await this.#gpu.idle();
      const now = performance.now();
      const before = Math.max(sent, this.#lastEnd);
      this.#lastEnd = now;
      this.#options.onTurn?.({
        samples: batch.length,
        rows,
        tokens: this.#tokens(batch[0]!.sample.latents),
        host: (sent - started) / 1000,
        device: (now - sent) / 1000,
        step: (now - before) / 1000,
      });
    } catch (error) {
      for (const running of batch) this.#fail(running, error);
      return;
    }
    for (const [i, running] of batch.entries()) {
      const { sample, done } = running;
      try {
        if (!running.over && !sample.signal?.aborted) sample.onStep?.(steps[i]!);
        if (steps[i] === sample.steps.length) done.resolve();
      } catch (error) {
        this.#fail(running, error);
      }
    }
  }

  #tokens(latents: Tensor): number {
    const { patch_size: patch } = this.#transformer.config;
    return latents.shape[2]! * latents.shape[3]! / (patch * patch);
  }

  /** Returns the rows of the prediction. */
  async #submit(batch: readonly Running[]): Promise<number> {
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
    return layout.rows.length + layout.skipRows.length;
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
      if (current(running).noise === 0) continue;
      running.noise ??= drawn(running.sample);
      this.#gpu.write(rowsOf(noise, i), running.noise);
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

function drawn({ drawNoise }: Sample): Float32Array<ArrayBuffer> {
  if (!drawNoise) throw new TypeError("A step adds noise, but its sample draws none");
  return drawNoise();
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
