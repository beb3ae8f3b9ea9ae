import type { Recorder } from "../gpu/recorder.ts";
import type { PerSample, Tensor } from "../gpu/tensor.ts";
import type { Activation } from "../ops/support/activations.ts";
import type { DeclaredWeights } from "../weights/declared.ts";
import { Linear } from "./linear.ts";

export interface MlpOptions {
  /** Names of the two layers below the path. */
  readonly names: readonly [first: string, second: string];
  /** Inputs, what lies between the layers, outputs. */
  readonly widths: readonly [inputs: number, hidden: number, outputs: number];
  readonly activation: Activation;
}

interface Into {
  /** Updated in place. */
  readonly into?: Tensor;
  readonly gate?: PerSample | undefined;
}

/** Two linear layers and the activation between them. */
export class Mlp {
  readonly #first: Linear;
  readonly #second: Linear;
  readonly #activation: Activation;

  constructor(weights: DeclaredWeights, path: string, { names, widths, activation }: MlpOptions) {
    const [inputs, hidden, outputs] = widths;
    this.#first = new Linear(weights, `${path}.${names[0]}`, inputs, hidden);
    this.#second = new Linear(weights, `${path}.${names[1]}`, hidden, outputs);
    this.#activation = activation;
  }

  forward(rec: Recorder, x: Tensor, options?: Into): Tensor {
    return this.second(rec, this.first(rec, x), options);
  }

  /** The first half, where something is to be recorded between the two. */
  first(rec: Recorder, x: Tensor): Tensor {
    return this.#first.forward(rec, x, { activation: this.#activation });
  }

  second(rec: Recorder, hidden: Tensor, options?: Into): Tensor {
    return this.#second.forward(rec, hidden, options);
  }
}
