/**
 * What a model needs of a checkpoint. The model declares its parameters while it builds its module
 * tree; they are then checked all at once and streamed to the GPU.
 */
import type { Checkpoint } from "./checkpoint.ts";
import { checkTensors, chooseType } from "./check.ts";
import { ProblemList } from "./errors.ts";
import {
  convLayout,
  matrixLayout,
  type RowLayout,
  tableLayout,
  vectorLayout,
} from "./row_layout.ts";
import { type Parameter, WeightParameter } from "./parameter.ts";
import type { WeightGpu } from "./parts.ts";
import type { WeightType } from "./weight_type.ts";
import { type StreamJob, streamWeights } from "./stream.ts";
import { storedBytes } from "./tensors.ts";
import type { DeclaredTensor } from "./synthetic.ts";

export interface LoadOptions {
  /** Stops the load and frees what it allocated; it rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Bytes of the checkpoint. */
  readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
  readonly weightType?: WeightType | undefined;
}

export interface MatrixOptions {
  /** Other shapes that a stored tensor may have, such as [N, C, 2, 2] of a patch embedding. */
  readonly storedShapes?: readonly (readonly number[])[];
  /** Its rows are looked up, not multiplied with. */
  readonly lookup?: boolean;
}

/** A stored tensor that becomes rows of a larger one; a vector's values count as rows. */
export interface DeclaredPart {
  readonly key: string;
  readonly rows: number;
}

export class DeclaredWeights {
  readonly #parameters: WeightParameter[] = [];
  readonly #keys = new Set<string>();
  readonly #ignored: RegExp[] = [];
  #gpu: WeightGpu | undefined;

  /** @param name of the network, for labels and messages */
  constructor(readonly name: string) {}

  /** A matrix [N, K]. In GPU memory its rows are `rowStride(K)` values apart. */
  matrix(
    key: string,
    [rows, k]: readonly [number, number],
    options: MatrixOptions = {},
  ): Parameter {
    const layout = matrixLayout([rows], k, options.storedShapes);
    return this.#declare([key], { ...layout, isFactor: !options.lookup });
  }

  /** Matrices [rows, K] of different heights one below the other, as one. */
  stack(parts: readonly DeclaredPart[], k: number): Parameter {
    return this.#declare(parts.map(({ key }) => key), matrixLayout(parts.map((p) => p.rows), k));
  }

  /** Vectors of different lengths one after the other, as one; always f32. */
  concat(parts: readonly DeclaredPart[]): Parameter {
    return this.#declare(parts.map(({ key }) => key), vectorLayout(parts.map((p) => p.rows)));
  }

  /** A bias or a norm's weight of `length` values; always f32. */
  vector(key: string, length: number): Parameter {
    return this.#declare([key], vectorLayout([length]));
  }

  /** A convolution [O, I, kh, kw]; in GPU memory [O, kh, kw, rowStride(I)]. */
  conv(key: string, shape: readonly [number, number, number, number]): Parameter {
    return this.#declare([key], convLayout(shape));
  }

  /** An embedding or positional table, dense and in the stored order; rows are its last axis. */
  table(key: string, shape: readonly number[]): Parameter {
    return this.#declare([key], tableLayout(shape));
  }

  /** Tensors of matching names may be in the checkpoint and are not needed. */
  ignore(pattern: RegExp): void {
    this.#ignored.push(pattern);
  }

  /** Every stored tensor that was declared, in the shape that published checkpoints have. */
  get declared(): readonly DeclaredTensor[] {
    return this.#parameters.flatMap(({ keys, layout }) =>
      keys.map((key, i) => ({ key, shape: layout.storedShapes[i]!.at(-1)! }))
    );
  }

  #declare(keys: readonly string[], layout: RowLayout): Parameter {
    for (const key of keys) {
      if (this.#keys.has(key)) throw new Error(`${this.name}: ${key} is declared twice`);
      this.#keys.add(key);
    }
    const parameter = new WeightParameter(this.name, keys, layout);
    this.#parameters.push(parameter);
    return parameter;
  }

  /**
   * Compares what was declared with what the checkpoint holds, without a device.
   * @throws {WeightsError} listing everything missing, extra, misshapen or of a wrong type
   */
  check(checkpoint: Checkpoint): void {
    const isIgnored = (key: string) => this.#ignored.some((pattern) => key.search(pattern) >= 0);
    checkTensors(this.name, this.#parameters, checkpoint, isIgnored);
  }

  /**
   * Bytes of GPU memory that `load` will take, if every value fits its narrow type; where weights lie
   * in textures, a little more.
   */
  gpuBytes(checkpoint: Checkpoint, weightType: WeightType = "auto"): number {
    this.check(checkpoint);
    return this.#parameters.reduce(
      (sum, parameter) => sum + parameter.gpuBytes(chooseType(parameter, checkpoint, weightType)),
      0,
    );
  }

  /**
   * Checks everything, allocates, and fills the tensors of every declared parameter. On any
   * failure what was allocated is freed and it can be loaded again.
   * @throws {WeightsError} before anything is allocated
   * @throws {OutOfDeviceMemoryError}
   */
  async load(checkpoint: Checkpoint, gpu: WeightGpu, options: LoadOptions = {}): Promise<void> {
    const { signal, onProgress, weightType = "auto" } = options;
    if (this.#gpu) throw new Error(`${this.name} is loaded already`);
    signal?.throwIfAborted();
    this.check(checkpoint);
    const jobs = this.#parameters.map((parameter) => ({
      parameter,
      dtype: chooseType(parameter, checkpoint, weightType),
    }));
    const total = jobs.reduce((sum, { parameter }) => sum + fileBytes(parameter, checkpoint), 0);
    let done = 0;
    this.#gpu = gpu;
    try {
      await this.#allocate(jobs, gpu);
      onProgress?.(0, total);
      const tooWide = await streamWeights(checkpoint, gpu, jobs, signal, (bytes) => {
        done += bytes;
        onProgress?.(done, total);
      });
      if (tooWide.size === 0) return;
      const again = [...tooWide].map((parameter) => ({ parameter, dtype: "f32" as const }));
      for (const { parameter } of again) parameter.free(gpu);
      await this.#allocate(again, gpu);
      await streamWeights(checkpoint, gpu, again, signal);
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /**
   * Allocates every parameter without filling it: enough to record against, on a device that holds
   * nothing.
   */
  async allocate(
    checkpoint: Checkpoint,
    gpu: WeightGpu,
    weightType: WeightType = "auto",
  ): Promise<void> {
    this.check(checkpoint);
    this.#gpu = gpu;
    const jobs = this.#parameters.map((parameter) => ({
      parameter,
      dtype: chooseType(parameter, checkpoint, weightType),
    }));
    await this.#allocate(jobs, gpu);
  }

  async #allocate(jobs: readonly StreamJob[], gpu: WeightGpu): Promise<void> {
    const problems = new ProblemList();
    const sized = jobs.map((job) => {
      const rows = job.parameter.partRows(job.dtype, gpu);
      if (rows === undefined) {
        problems.add(
          "tooLarge",
          `${job.parameter.label}: ${job.parameter.gpuBytes(job.dtype)} bytes, the device binds ` +
            `${gpu.limits.maxStorageBufferBindingSize}`,
        );
      }
      return { ...job, rows: rows ?? 0 };
    });
    problems.throwIfAny(this.name);
    await gpu.scope(`${this.name}/weights`, () => {
      for (const { parameter, dtype, rows } of sized) parameter.allocate(gpu, dtype, rows);
    });
  }

  /** Frees every tensor; using one afterwards throws. */
  dispose(): void {
    const gpu = this.#gpu;
    if (!gpu) return;
    for (const parameter of this.#parameters) parameter.free(gpu);
    this.#gpu = undefined;
  }
}

function fileBytes(parameter: WeightParameter, checkpoint: Checkpoint): number {
  return parameter.keys.reduce((sum, key) => sum + storedBytes(checkpoint.tensors.get(key)!), 0);
}
