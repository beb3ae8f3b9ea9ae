/** A graph that computes nothing: it holds what the real one would, on a device for planning. */
import type { Gpu } from "../../gpu/device.ts";
import type { Graph, GraphInput } from "./graph.ts";

export class DryGraph implements Graph {
  readonly #gpu: Gpu;
  readonly #activations: (inputs: Readonly<Record<string, GraphInput>>) => number;
  /** What the largest run so far took: onnxruntime keeps it for the next. */
  #kept: { readonly bytes: number } | undefined;

  /** @param activations bytes that one run takes beside inputs and outputs */
  constructor(
    gpu: Gpu,
    weights: number,
    activations: (inputs: Readonly<Record<string, GraphInput>>) => number,
  ) {
    this.#gpu = gpu;
    this.#activations = activations;
    gpu.ledger.add(this, "weights", weights);
  }

  run(inputs: Readonly<Record<string, GraphInput>>): Promise<void> {
    const bytes = this.#activations(inputs);
    if (bytes > (this.#kept?.bytes ?? 0)) this.#keep({ bytes });
    return Promise.resolve();
  }

  gives(): boolean {
    return true;
  }

  dispose(): Promise<void> {
    this.#keep(undefined);
    this.#gpu.ledger.remove(this);
    return Promise.resolve();
  }

  #keep(kept: { readonly bytes: number } | undefined): void {
    const { ledger } = this.#gpu;
    if (this.#kept) ledger.remove(this.#kept);
    this.#kept = kept;
    if (kept) ledger.add(kept, "arena", kept.bytes);
  }
}
