/** A network as something to call: programs by the shapes of its inputs, each recorded when needed. */
import type { Gpu } from "../gpu/device.ts";
import { copyTensor, type Program } from "../gpu/program.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { ProgramCache } from "../gpu/program_cache.ts";
import type { Tensor } from "../gpu/tensor.ts";

/** Records with the kernels that the device's tuner decides for, which may take a second recording. */
export async function record<Ends>(
  gpu: Gpu,
  label: string,
  build: (rec: Recorder) => Ends,
): Promise<{ readonly program: Program; readonly ends: Ends }> {
  let rec = gpu.record(label);
  let ends = build(rec);
  if (await rec.decide()) {
    rec = gpu.record(label);
    ends = build(rec);
  }
  return { program: await rec.finish(), ends };
}

/** Whole numbers from the host. */
export interface HostValues {
  readonly shape: readonly number[];
  readonly data: Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;
}

type Named<Name extends string, T> = Readonly<Record<Name, T>>;

export interface RecordedOptions<Input extends string, Output extends string> {
  readonly label: string;
  /** Programs kept. A recording is host work only: its kernels stay compiled. */
  readonly kept: number;
  build(
    rec: Recorder,
    inputs: Named<Input, Tensor>,
    constant?: Tensor,
    variant?: number,
  ): Named<Output, Tensor>;
  /** Makes what the programs of these shapes read besides: it goes with its program. */
  readonly prepare?: (shapes: Named<Input, readonly number[]>) => Promise<Tensor>;
}

interface Recording<Input extends string, Output extends string> {
  readonly program: Program;
  readonly inputs: Named<Input, Tensor>;
  readonly outputs: Named<Output, Tensor>;
  dispose(): void;
}

export class Recorded<Input extends string, Output extends string> {
  readonly #gpu: Gpu;
  readonly #options: RecordedOptions<Input, Output>;
  readonly #programs: ProgramCache<Recording<Input, Output>>;

  constructor(gpu: Gpu, options: RecordedOptions<Input, Output>) {
    this.#gpu = gpu;
    this.#options = options;
    this.#programs = new ProgramCache(options.kept);
  }

  /**
   * Moves values into the arena, runs, and copies the outputs to `out`, all in one submit. Resolves
   * when the commands are valid and queued.
   *
   * @param variant which of the network's programs for these shapes, where there are several
   */
  async run(
    given: Named<Input, Tensor | HostValues>,
    out: Named<Output, Tensor>,
    variant?: number,
  ): Promise<void> {
    const shapes = mapValues(given, ({ shape }) => shape);
    const { program, inputs, outputs } = await this.#programs.get(
      JSON.stringify([shapes, variant]),
      () => this.#record(given, shapes, variant),
    );
    await this.#gpu.submit(this.#options.label, (encoder) => {
      for (const name of namesOf(given)) {
        const values = given[name];
        if ("data" in values) this.#gpu.write(inputs[name], values.data);
        else copyTensor(encoder, values, inputs[name]);
      }
      program.replay(encoder);
      for (const name of namesOf(outputs)) copyTensor(encoder, outputs[name], out[name]);
    });
  }

  dispose(): void {
    this.#programs.dispose();
  }

  async #record(
    given: Named<Input, Tensor | HostValues>,
    shapes: Named<Input, readonly number[]>,
    variant?: number,
  ): Promise<Recording<Input, Output>> {
    const { label, build, prepare } = this.#options;
    const constant = await prepare?.(shapes);
    const free = () => constant && this.#gpu.destroyTensor(constant);
    try {
      const { program, ends } = await record(this.#gpu, label, (rec) => {
        const inputs = mapValues(
          given,
          (values, name) => rec.input(values.shape, name, "data" in values ? "u32" : values.dtype),
        );
        const outputs = build(rec, inputs, constant, variant);
        rec.keep(...namesOf(outputs).map((name) => outputs[name]));
        return { inputs, outputs };
      });
      const dispose = () => {
        program.dispose();
        free();
      };
      return { program, ...ends, dispose };
    } catch (error) {
      free();
      throw error;
    }
  }
}

function namesOf<Name extends string>(named: Named<Name, unknown>): Name[] {
  return Object.keys(named) as Name[];
}

function mapValues<Name extends string, T, U>(
  named: Named<Name, T>,
  map: (value: T, name: Name) => U,
): Named<Name, U> {
  return Object.fromEntries(namesOf(named).map((name) => [name, map(named[name], name)])) as Named<
    Name,
    U
  >;
}
