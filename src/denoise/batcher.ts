/**
 * One loop for all requests: each turn it runs the next step of every image that shares a shape, as
 * one batch. Images join and leave between any two steps; each keeps its own timestep, guidance and
 * text, and its latents stay on the GPU. `TurnOrder` says whose turn it is, counted in tokens.
 */
import type { Gpu } from "../gpu/device.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { RecordedStep, TransformerComponent } from "../models/sd3/components.ts";
import { type ImageInFlight, type Progress, recordStep, skipLayers } from "./batch_step.ts";
import { TurnOrder } from "./turn_order.ts";

interface Running extends Progress {
  readonly done: PromiseWithResolvers<void>;
  /** Index of the step that is submitted next. */
  next: number;
  /** Settled: takes part in no further step. */
  over: boolean;
}

export interface BatcherOptions {
  /** Most images in one step of images of this many tokens. */
  readonly maxBatch: (tokens: number) => number;
  /** Hears how long each step took. A throw ends the images of that step. */
  readonly onTurn?: ((turn: TurnReport) => void) | undefined;
  /**
   * Whether a step is recorded while the one before runs, and follows it at once. Default: on GPUs
   * only. A software adapter computes with the processors that record: there it made steps a tenth
   * longer than encoding between them.
   */
  readonly recordAhead?: boolean | undefined;
}

/** One step of a batch. Times are in seconds. */
export interface TurnReport {
  readonly images: number;
  /** Rows of the prediction: more than images under guidance. */
  readonly rows: number;
  /** Patches of one image. */
  readonly tokens: number;
  /** Host work until the step was submitted, the recording of a new shape included. */
  readonly host: number;
  /** The part of it that was done while no earlier step was on the device. */
  readonly exposed: number;
  /** From the submit to its end, including what was queued before it. */
  readonly device: number;
  /** From the submit, or from the end of the step before if that came later, to its end. */
  readonly step: number;
}

/** A step of a batch, ready to be submitted or failed. Times are in seconds. */
interface Turn {
  readonly batch: readonly Running[];
  readonly rows: number;
  readonly commands?: RecordedStep;
  readonly error?: unknown;
  readonly host: number;
  readonly exposed: number;
}

/** A submitted step. */
interface Sent extends Omit<TurnReport, "device" | "step" | "images"> {
  readonly batch: readonly Running[];
  /** Each image's step, counted from 1. */
  readonly steps: readonly number[];
  /** When it was submitted, in milliseconds. */
  readonly at: number;
}

export class DenoiseBatcher {
  readonly #gpu: Gpu;
  readonly #transformer: TransformerComponent;
  readonly #options: BatcherOptions;
  readonly #recordAhead: boolean;
  readonly #order = new TurnOrder<Running>();
  /** Images of the turn that is being submitted. */
  #submitting = 0;
  #looping = false;
  /** When the last step ended. */
  #lastEnd = 0;

  constructor(gpu: Gpu, transformer: TransformerComponent, options: BatcherOptions) {
    this.#gpu = gpu;
    this.#transformer = transformer;
    this.#options = options;
    this.#recordAhead = options.recordAhead ?? !gpu.adapter.isSoftware;
  }

  /** Images with steps left to submit. */
  get active(): number {
    return this.#order.size + this.#submitting;
  }

  /** Most images in one step of images of this many tokens. */
  maxBatch(tokens: number): number {
    return this.#options.maxBatch(tokens);
  }

  /**
   * Takes an image through all its steps. Rejects with its signal's reason within one step of an
   * abort, or with the GPU error that its own steps caused.
   */
  denoise(image: ImageInFlight): Promise<void> {
    if (image.signal?.aborted) return Promise.reject(image.signal.reason);
    if (image.steps.length === 0) return Promise.resolve();
    const done = Promise.withResolvers<void>();
    this.#queue({ image, done, next: 0, over: false });
    if (!this.#looping) {
      this.#looping = true;
      // Not at once, so that the images of one burst of requests start together.
      setTimeout(() => this.#loop(), 0);
    }
    return done.promise;
  }

  async #loop(): Promise<void> {
    let sent: readonly Sent[] = [];
    for (;;) {
      this.#dropAborted();
      const batch = this.#order.next() ?? [];
      if (batch.length === 0 && sent.length === 0) break;
      this.#submitting = batch.length;
      // In Deno it is the call that takes until the device has nothing left to do, not its promise.
      const wait = () => sent.map((step) => this.#end(step));
      const waited = this.#recordAhead ? undefined : wait();
      const turn = await this.#record(batch, !waited && sent.length > 0);
      const ends = waited ?? wait();
      sent = await this.#submit(turn);
      this.#submitting = 0;
      for (const running of batch) {
        if (running.next < running.image.steps.length) this.#queue(running);
      }
      await Promise.all(ends);
    }
    this.#looping = false;
  }

  /** Back of its group's queue. An image's group changes where its steps do. */
  #queue(running: Running): void {
    if (running.over) return;
    const { latents, text } = running.image;
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
      if (running.image.signal?.aborted) this.#fail(running, running.image.signal.reason);
    }
  }

  #fail(running: Running, error: unknown): void {
    running.over = true;
    this.#order.remove(running);
    running.done.reject(error);
  }

  /** @param hidden whether an earlier step is on the device in the meantime */
  async #record(given: readonly Running[], hidden: boolean): Promise<Turn> {
    const started = performance.now();
    const batch = given.filter(({ over }) => !over);
    const step = batch.length === 0
      ? { rows: 0 }
      : await recordStep(this.#gpu, this.#transformer, batch)
        .catch((error: unknown) => ({ rows: 0, error }));
    const host = (performance.now() - started) / 1000;
    return { batch, ...step, host, exposed: hidden ? 0 : host };
  }

  /** Submits what was recorded, together if that works. */
  async #submit(turn: Turn): Promise<Sent[]> {
    try {
      return await this.#send(turn);
    } catch {
      // Nothing of a failed command buffer was executed: find out whose fault it was, one by one. A
      // image alone has its second try, too, since the device may have complained of another's work.
    }
    const sent: Sent[] = [];
    for (const running of turn.batch) {
      try {
        sent.push(...await this.#send(await this.#record([running], false)));
      } catch (error) {
        this.#fail(running, error);
      }
    }
    return sent;
  }

  async #send(given: Turn): Promise<Sent[]> {
    // The memory of an image that has ended since is gone.
    const stale = given.batch.some(({ over }) => over);
    const { batch, rows, commands, error, host, exposed } = stale
      ? await this.#record(given.batch, false)
      : given;
    if (error !== undefined) throw error;
    if (!commands) return [];
    const started = performance.now();
    await commands.submit();
    const steps = batch.map((running) => {
      running.noise = undefined;
      return ++running.next;
    });
    const at = performance.now();
    const submitting = (at - started) / 1000;
    return [{
      batch,
      steps,
      rows,
      tokens: this.#tokens(batch[0]!.image.latents),
      host: host + submitting,
      exposed: exposed + submitting,
      at,
    }];
  }

  /** Waits for the device, then tells the images. */
  async #end({ batch, steps, at, ...report }: Sent): Promise<void> {
    try {
      await this.#gpu.idle();
      const now = performance.now();
      const before = Math.max(at, this.#lastEnd);
      this.#lastEnd = now;
      this.#options.onTurn?.({
        ...report,
        images: batch.length,
        device: (now - at) / 1000,
        step: (now - before) / 1000,
      });
    } catch (error) {
      for (const running of batch) this.#fail(running, error);
      return;
    }
    for (const [i, running] of batch.entries()) {
      const { image, done } = running;
      try {
        if (!running.over && !image.signal?.aborted) image.onStep?.(steps[i]!);
        if (steps[i] === image.steps.length) done.resolve();
      } catch (error) {
        this.#fail(running, error);
      }
    }
  }

  #tokens(latents: Tensor): number {
    const { patch_size: patch } = this.#transformer.config;
    return latents.shape[2]! * latents.shape[3]! / (patch * patch);
  }
}
