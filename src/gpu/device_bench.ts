/** Times candidates of a question on the device that they are for. */
import type { Gpu } from "./device.ts";
import type { Program } from "./program.ts";
import type { Bench, Trial } from "./tuner.ts";
import type { Candidate, Question } from "./tuning.ts";

/**
 * Repetitions in one submit fill so many seconds: long enough for the device's clock, or for a runtime
 * that polls when it waits.
 */
const deviceSeconds = 0.01;
const wallSeconds = 0.06;

export class DeviceBench implements Bench {
  readonly #gpu: Gpu;
  /** Whether the device's own clock is of use. */
  #hasClock: boolean;

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
    this.#hasClock = gpu.device.features.has("timestamp-query");
  }

  /** Compiles: a pipeline's first run waits for the driver. */
  async open(question: Question, candidate: Candidate): Promise<Trial> {
    const rec = this.#gpu.record(`tune ${question.key}`);
    question.record(rec, candidate);
    const program = await rec.finish();
    try {
      await this.#gpu.run(program);
      await this.#gpu.idle();
    } catch (error) {
      program.dispose();
      throw error;
    }
    let repeats: number | undefined;
    return {
      run: async () => {
        repeats ??= await this.#repeats(program);
        return await this.#seconds(program, repeats) / repeats;
      },
      dispose: () => program.dispose(),
    };
  }

  async #repeats(program: Program): Promise<number> {
    const started = performance.now();
    const once = await this.#seconds(program, 1);
    // A clock that is coarse or wrong must not make the run long.
    const most = wallSeconds / ((performance.now() - started) / 1000);
    const wanted = this.#hasClock ? deviceSeconds / once : most;
    return Math.max(1, Math.round(Math.min(wanted, most)));
  }

  async #seconds(program: Program, repeats: number): Promise<number> {
    const work = (encoder: GPUCommandEncoder) => {
      for (let i = 0; i < repeats; i++) program.replay(encoder);
    };
    if (this.#hasClock) {
      const seconds = await this.#onDevice(program.label, work);
      if (seconds > 0) return seconds;
      this.#hasClock = false;
    }
    await this.#gpu.idle();
    const started = performance.now();
    await this.#gpu.submit(program.label, work);
    await this.#gpu.idle();
    return (performance.now() - started) / 1000;
  }

  /** Between two timestamps, so that neither waiting nor others' work on the queue counts. */
  async #onDevice(label: string, work: (encoder: GPUCommandEncoder) => void): Promise<number> {
    const { device } = this.#gpu;
    const querySet = device.createQuerySet({ label, type: "timestamp", count: 4 });
    const buffer = this.#gpu.createBuffer({
      label: `${label}/timestamps`,
      size: 32,
      owner: "other",
      usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    });
    const stamp = (encoder: GPUCommandEncoder, index: number) =>
      encoder.beginComputePass({
        timestampWrites: {
          querySet,
          beginningOfPassWriteIndex: index,
          endOfPassWriteIndex: index + 1,
        },
      }).end();
    try {
      await this.#gpu.submit(label, (encoder) => {
        stamp(encoder, 0);
        work(encoder);
        stamp(encoder, 2);
        encoder.resolveQuerySet(querySet, 0, 4, buffer, 0);
      });
      const bytes = await this.#gpu.readBytes({
        label: `${label}/timestamps`,
        shape: [8],
        dtype: "u32",
        storage: { buffer },
        byteOffset: 0,
        byteLength: 32,
      });
      const [, start, , end] = new BigUint64Array(bytes);
      return Number(end! - start!) / 1e9;
    } finally {
      this.#gpu.destroyBuffer(buffer);
      querySet.destroy();
    }
  }
}
