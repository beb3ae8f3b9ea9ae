/**
 * adaLN for the whole network in one product. Every shift, scale and gate of a step depends on
 * `temb` only, so the `norm*.linear` layers of all blocks are laid one below the other and computed
 * at once; blocks then read their vectors by offset.
 */
import type { Recorder } from "../../../gpu/recorder.ts";
import type { PerSample, Tensor } from "../../../gpu/tensor.ts";
import { Linear } from "../../../nn/linear.ts";
import { activation } from "../../../ops/activation.ts";
import type { DeclaredWeights } from "../../../weights/declared.ts";

/** eps of every norm in the blocks; diffusers does not configure it. */
export const normEps = 1e-6;

/** Vectors of diffusers' AdaLayerNormZero in the order of its rows. */
export const zero = ["shift", "scale", "gate", "shiftMlp", "scaleMlp", "gateMlp"] as const;
/** SD35AdaLayerNormZeroX: three more for a second attention. */
export const zeroX = [...zero, "shift2", "scale2", "gate2"] as const;
/** AdaLayerNormContinuous. */
export const continuous = ["scale", "shift"] as const;

/** One layer's vectors among those of all. */
export interface ModulatedLayer<Name extends string> {
  /** @param vectors of `Modulation.forward` */
  of(vectors: Tensor): Readonly<Record<Name, PerSample>>;
}

/** Collects the layers while the blocks are built; `build` then declares the one product. */
export class ModulationBuilder {
  readonly #hidden: number;
  readonly #parts: { readonly path: string; readonly rows: number }[] = [];
  #rows = 0;

  constructor(hidden: number) {
    this.#hidden = hidden;
  }

  layer<Name extends string>(path: string, names: readonly Name[]): ModulatedLayer<Name> {
    const offsets = names.map((name, i) => [name, this.#rows + i * this.#hidden] as const);
    const rows = names.length * this.#hidden;
    this.#parts.push({ path, rows });
    this.#rows += rows;
    return {
      of: (tensor) => {
        const [, stride = 0] = tensor.shape;
        const vectors = offsets.map(([name, offset]) => [name, { tensor, offset, stride }]);
        return Object.fromEntries(vectors) as Record<Name, PerSample>;
      },
    };
  }

  build(weights: DeclaredWeights): Modulation {
    const parts = this.#parts;
    return new Modulation(new Linear(weights, "modulation", this.#hidden, this.#rows, { parts }));
  }
}

export class Modulation {
  readonly #linear: Linear;

  constructor(linear: Linear) {
    this.#linear = linear;
  }

  /** All vectors of a step: temb [B, hidden] to [B, rows]. */
  forward(rec: Recorder, temb: Tensor): Tensor {
    return this.#linear.forward(
      rec,
      activation(rec, { x: temb, kind: "silu", label: "temb.silu" }),
    );
  }
}
