/**
 * adaLN for the whole network in one product. Every shift, scale and gate of a step depends on
 * `temb` only, so the `norm*.linear` layers of all blocks are laid one below the other and computed
 * at once; blocks then read their chunks by offset.
 */
import type { Recorder } from "../../../gpu/program.ts";
import type { PerSample, Tensor } from "../../../gpu/tensor.ts";
import { activation } from "../../../ops/activation.ts";
import { linear } from "../../../ops/linear.ts";
import type { Parameter } from "../../../weights/parameter.ts";
import type { WeightPlan } from "../../../weights/plan.ts";

/** Where one layer's chunks lie among all rows. */
export interface ModulationSlice {
  readonly path: string;
  readonly firstRow: number;
  readonly chunks: number;
}

/** Collects the layers while the blocks are built; `build` then declares the one matrix. */
export class ModulationBuilder {
  readonly #hidden: number;
  readonly #slices: ModulationSlice[] = [];
  #rows = 0;

  constructor(hidden: number) {
    this.#hidden = hidden;
  }

  /** Declares the layer `path` with `chunks` vectors of the hidden size. */
  layer(path: string, chunks: number): ModulationSlice {
    const slice = { path, firstRow: this.#rows, chunks };
    this.#slices.push(slice);
    this.#rows += chunks * this.#hidden;
    return slice;
  }

  build(plan: WeightPlan): Modulation {
    const parts = this.#slices.map(({ path, chunks }) => ({ path, rows: chunks * this.#hidden }));
    return new Modulation(
      this.#hidden,
      plan.stack(parts.map(({ path, rows }) => ({ key: `${path}.weight`, rows })), this.#hidden),
      plan.concat(parts.map(({ path, rows }) => ({ key: `${path}.bias`, size: rows }))),
    );
  }
}

export class Modulation {
  readonly #hidden: number;
  readonly #weight: Parameter;
  readonly #bias: Parameter;

  constructor(hidden: number, weight: Parameter, bias: Parameter) {
    this.#hidden = hidden;
    this.#weight = weight;
    this.#bias = bias;
  }

  /** All vectors of a step: temb [B, hidden] to [B, rows]. */
  forward(rec: Recorder, temb: Tensor): Tensor {
    const active = activation(rec, { x: temb, kind: "silu", label: "temb.silu" });
    return linear(rec, {
      x: active,
      weight: this.#weight,
      bias: this.#bias.tensor,
      label: "modulation",
    });
  }

  /** The chunks of one layer, in the layer's own order. */
  chunks(vectors: Tensor, slice: ModulationSlice): PerSample[] {
    const stride = vectors.shape[1]!;
    return Array.from({ length: slice.chunks }, (_, i) => ({
      tensor: vectors,
      offset: slice.firstRow + i * this.#hidden,
      stride,
    }));
  }
}
