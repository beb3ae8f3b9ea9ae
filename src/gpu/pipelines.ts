/** Compute pipelines, keyed by the very text and constants that make them. */
import { KernelError } from "./errors.ts";
import { type BindingKind, type Kernel, type Specialisation, specialise } from "./kernel.ts";

export interface Pipeline {
  readonly kernel: Kernel;
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #pipelines = new Map<string, Pipeline>();
  #pending: Promise<void>[] = [];

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  get size(): number {
    return this.#pipelines.size;
  }

  /** A pipeline at once; whether it is valid is known after `settled()`. */
  get(kernel: Kernel, specialisation: Specialisation = {}): Pipeline {
    const constants = numbers(specialisation.override ?? {});
    const code = specialise(kernel, specialisation);
    const key = `${JSON.stringify(constants)}\n${code}`;
    const cached = this.#pipelines.get(key);
    if (cached) return cached;
    const made = this.#create(kernel, code, constants, key);
    this.#pipelines.set(key, made);
    return made;
  }

  /** Rejects with the first KernelError among the pipelines made since the last call. */
  async settled(): Promise<void> {
    const pending = this.#pending;
    this.#pending = [];
    await Promise.all(pending);
  }

  #create(kernel: Kernel, code: string, constants: Record<string, number>, key: string): Pipeline {
    const device = this.#device;
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ label: kernel.name, code });
    const layout = device.createBindGroupLayout({
      label: kernel.name,
      entries: kernel.bindings.map(({ index, kind }) => ({
        binding: index,
        visibility: GPUShaderStage.COMPUTE,
        ...layoutEntry(kind),
      })),
    });
    const pipeline = device.createComputePipeline({
      label: kernel.name,
      layout: device.createPipelineLayout({ label: kernel.name, bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: "main", constants },
    });
    this.#pending.push(
      device.popErrorScope().then(async (error) => {
        if (!error) return;
        this.#pipelines.delete(key);
        const info = await module.getCompilationInfo();
        const messages = info.messages.filter((m) => m.type === "error")
          .map((m) => `line ${m.lineNum}: ${m.message.trim()}`);
        throw new KernelError(kernel.name, messages.join("\n") || error.message);
      }),
    );
    return { kernel, pipeline, layout };
  }
}

function layoutEntry(kind: BindingKind): Omit<GPUBindGroupLayoutEntry, "binding" | "visibility"> {
  switch (kind) {
    case "float-texture":
      return { texture: { sampleType: "unfilterable-float" } };
    case "uint-texture":
      return { texture: { sampleType: "uint" } };
    default:
      return { buffer: { type: kind } };
  }
}

function numbers(values: Readonly<Record<string, number | boolean>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => [k, Number(v)]),
  );
}
