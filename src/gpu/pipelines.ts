/** Compute pipelines, keyed by what makes them: a kernel's text and how it is specialised. */
import { KernelError } from "./errors.ts";
import { type BindingKind, type Kernel, type Specialisation, specialise } from "./kernel.ts";

export interface Pipeline {
  readonly kernel: Kernel;
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

export class PipelineCache {
  readonly #device: GPUDevice;
  /** By the kernel's text, then by its specialisation. */
  readonly #pipelines = new Map<string, Map<string, Pipeline>>();
  #pending: Promise<void>[] = [];

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  get size(): number {
    return [...this.#pipelines.values()].reduce((sum, forms) => sum + forms.size, 0);
  }

  /** A pipeline at once; whether it is valid is known after `settled()`. */
  get(kernel: Kernel, specialisation: Specialisation = {}): Pipeline {
    let forms = this.#pipelines.get(kernel.source);
    if (!forms) this.#pipelines.set(kernel.source, forms = new Map());
    const { alias, const: constants, override } = specialisation;
    const key = JSON.stringify([sorted(alias), sorted(constants), sorted(override)]);
    let pipeline = forms.get(key);
    if (!pipeline) {
      pipeline = this.#create(kernel, specialisation, () => forms.delete(key));
      forms.set(key, pipeline);
    }
    return pipeline;
  }

  /** Rejects with the first KernelError among the pipelines made since the last call. */
  async settled(): Promise<void> {
    const pending = this.#pending;
    this.#pending = [];
    await Promise.all(pending);
  }

  #create(kernel: Kernel, specialisation: Specialisation, forget: () => void): Pipeline {
    const device = this.#device;
    const code = specialise(kernel, specialisation);
    const constants = Object.fromEntries(
      sorted(specialisation.override).map(([name, value]) => [name, Number(value)]),
    );
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
        forget();
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
    case "float-storage-texture":
      return { storageTexture: { access: "read-only", format: "rgba32float" } };
    case "uint-storage-texture":
      return { storageTexture: { access: "read-only", format: "rgba32uint" } };
    default:
      return { buffer: { type: kind } };
  }
}

function sorted<T>(values: Readonly<Record<string, T>> = {}): [string, T][] {
  return Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1));
}
