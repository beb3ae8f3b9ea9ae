/**
 * What a device is asked to do, written down instead of done: a dry device whose WebGPU calls are
 * kept, the same ones once. Checked against an adapter's limits afterwards, as often as there are
 * adapters.
 */
import { defineKernel, type ParamField } from "../../src/gpu/kernel.ts";
import type { Gpu } from "../../src/gpu/device.ts";

/** A compute pipeline as it is compiled. */
export interface Form {
  readonly kernel: string;
  readonly code: string;
  readonly constants: Readonly<Record<string, number>>;
  readonly bindings: readonly GPUBindGroupLayoutEntry[];
}

export interface BoundBuffer {
  readonly binding: number;
  readonly kind: GPUBufferBindingType;
  readonly buffer: object;
  /** Bytes of the whole buffer. */
  readonly bufferSize: number;
  readonly offset: number;
  readonly size: number;
}

export interface RecordedDispatch {
  readonly label: string;
  readonly form: Form;
  readonly grid: readonly number[];
  readonly params: Readonly<Record<string, number>>;
  readonly buffers: readonly BoundBuffer[];
}

/** Everything that one or several runs on a device asked for, equal dispatches once. */
export class Recording {
  readonly forms = new Map<string, Form>();
  readonly dispatches = new Map<string, RecordedDispatch>();
  /** Dispatches, equal ones included. */
  calls = 0;
  /** The largest buffer and texture, with their labels. */
  buffer = { label: "", size: 0 };
  texture = { label: "", extent: 0 };
  /** What no device takes, whatever its limits. */
  readonly problems = new Set<string>();

  readonly #numbers = new Map<Form, number>();

  #number(form: Form): number {
    const known = this.#numbers.get(form);
    if (known !== undefined) return known;
    this.#numbers.set(form, this.#numbers.size);
    return this.#numbers.size - 1;
  }

  /** From here on, what `gpu` (a dry one) is asked to do is written down. */
  observe(gpu: Gpu): void {
    const device = gpu.device as unknown as Record<string, unknown>;
    const queue = gpu.queue as unknown as Record<string, unknown>;
    const before = device.createBuffer as (descriptor: GPUBufferDescriptor) => object;
    const writes = new Map<object, Uint8Array>();
    const parameters = new Map<Form, readonly ParamField[]>();

    device.createBuffer = (descriptor: GPUBufferDescriptor) => {
      const { label = "", size } = descriptor;
      if (size > this.buffer.size) this.buffer = { label, size };
      return before(descriptor);
    };
    device.createTexture = ({ label = "", size }: GPUTextureDescriptor) => {
      const extents = size as [number, number];
      const extent = Math.max(...extents);
      if (extent > this.texture.extent) this.texture = { label, extent };
      const texture = { extents, destroy: () => {}, createView: () => ({ texture }) };
      return texture;
    };
    device.createShaderModule = ({ code }: { code: string }) => ({
      code,
      getCompilationInfo: () => Promise.resolve({ messages: [] }),
    });
    device.createBindGroupLayout = ({ entries }: { entries: GPUBindGroupLayoutEntry[] }) => ({
      entries,
    });
    device.createComputePipeline = (descriptor: GPUComputePipelineDescriptor) => {
      const { label: kernel = "", compute: { module, constants = {} } } = descriptor;
      const { code } = module as unknown as { code: string };
      const layout = descriptor.layout as unknown as { entries: GPUBindGroupLayoutEntry[] };
      const key = JSON.stringify([code, constants]);
      let form = this.forms.get(key);
      if (!form) {
        form = { kernel, code, constants, bindings: layout.entries };
        this.forms.set(key, form);
      }
      return form;
    };
    device.createPipelineLayout = (
      { bindGroupLayouts: [layout] }: { bindGroupLayouts: unknown[] },
    ) => layout;
    device.createBindGroup = (descriptor: unknown) => descriptor;
    queue.writeBuffer = (buffer: object, _offset: number, data: ArrayBufferView) => {
      // Parameters of a program; everything else that is written is data.
      if (data instanceof Uint8Array) writes.set(buffer, data);
    };

    const dispatched = (form: Form, group: GPUBindGroupDescriptor, grid: number[]) => {
      this.calls++;
      const buffers: BoundBuffer[] = [];
      let words: Uint32Array = noWords;
      let key = `${this.#number(form)}/${grid}`;
      for (const { binding, resource } of group.entries as Iterable<GPUBindGroupEntry>) {
        const kind = form.bindings.find((entry) => entry.binding === binding)?.buffer?.type;
        if (!kind) continue;
        const { buffer, offset = 0, size = 0 } = resource as GPUBufferBinding;
        buffers.push({ binding, kind, buffer, bufferSize: buffer.size, offset, size });
        if (kind !== "uniform") key += `/${buffer.size},${offset},${size}`;
        else words = new Uint32Array(writes.get(buffer)!.buffer, offset, size / 4);
      }
      let fields = parameters.get(form);
      if (!fields) parameters.set(form, fields = defineKernel(form.kernel, form.code).params);
      // Layers differ in where their vectors begin, which says nothing about sizes.
      fields.forEach(({ name }, i) => key += name.endsWith("_offset") ? "" : `,${words[i]}`);
      if (this.dispatches.has(key)) return;
      const params = decode(fields, words);
      this.dispatches.set(key, { label: group.label ?? "", form, grid, params, buffers });
    };
    device.createCommandEncoder = () => ({
      beginComputePass: () => {
        let form: Form;
        let group: GPUBindGroupDescriptor;
        return {
          setPipeline: (pipeline: Form) => form = pipeline,
          setBindGroup: (_: number, bound: GPUBindGroupDescriptor) => group = bound,
          dispatchWorkgroups: (...grid: number[]) => dispatched(form, group, grid),
          end: () => {},
        };
      },
      copyBufferToBuffer: (
        from: GPUBuffer,
        fromOffset: number,
        to: GPUBuffer,
        toOffset: number,
        size: number,
      ) => {
        if ([fromOffset, toOffset, size].some((bytes) => bytes % 4)) {
          this.problems.add(`A copy of ${size} bytes from ${fromOffset} to ${toOffset}`);
        }
        if (fromOffset + size > from.size || toOffset + size > to.size) {
          this.problems.add(`A copy of ${size} bytes leaves its buffers`);
        }
        if (from === to) this.problems.add("A copy within a buffer");
      },
      copyBufferToTexture: (
        { buffer, offset, bytesPerRow }: { buffer: GPUBuffer; offset: number; bytesPerRow: number },
        { texture, origin }: { texture: { extents: number[] }; origin: { x: number; y: number } },
        { width, height }: { width: number; height: number },
      ) => {
        const end = offset + bytesPerRow * (height - 1) + 16 * width;
        if (bytesPerRow % 256 || offset % 16 || end > buffer.size) {
          this.problems.add(`Rows of ${bytesPerRow} bytes from ${offset} on cannot be copied`);
        }
        if (origin.x + width > texture.extents[0]! || origin.y + height > texture.extents[1]!) {
          this.problems.add(`${width}x${height} texels at ${origin.x},${origin.y} leave a texture`);
        }
      },
      clearBuffer: () => {},
      finish: () => ({}),
    });
  }
}

const noWords = new Uint32Array(0);

function decode(fields: readonly ParamField[], words: Uint32Array): Record<string, number> {
  const view = new DataView(words.buffer, words.byteOffset, words.byteLength);
  return Object.fromEntries(fields.map(({ name, type }, i) => [
    name,
    type === "f32"
      ? view.getFloat32(4 * i, true)
      : type === "i32"
      ? view.getInt32(4 * i, true)
      : view.getUint32(4 * i, true),
  ]));
}
