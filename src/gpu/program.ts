/** What was recorded: a flat list of commands that a step encodes without touching model code again. */
import type { Allocator } from "./allocator.ts";
import type { Arena } from "./arena.ts";
import type { Grid, GridPiece } from "./grid.ts";
import type { Kernel, Specialisation } from "./kernel.ts";
import type { Pipeline } from "./pipelines.ts";
import type { OpTexture } from "./slot_layout.ts";
import type { Tensor } from "./tensor.ts";
import type { ScratchTexture, TextureCopy, WeightTexture } from "./texture.ts";

export interface Dispatch {
  /** `<op>/<weight path>`: what validation messages and profiles call it. */
  readonly label: string;
  readonly kernel: Kernel;
  readonly specialise?: Specialisation;
  /** Buffers and textures by their WGSL names. Absent optionals: `gpu.absent`. */
  readonly bindings: Readonly<
    Record<string, Tensor | ScratchTexture | WeightTexture | GPUTextureView>
  >;
  readonly params?: Readonly<Record<string, number>>;
  readonly grid: Grid;
}

export interface RecordedDispatch extends Dispatch {
  readonly pipeline: Pipeline;
  readonly workgroups: GridPiece["size"];
  readonly uniformOffset: number;
  readonly uniformSize: number;
}

interface Copy {
  readonly from: Tensor;
  readonly to: Tensor;
}

interface CopyToTexture extends TextureCopy {
  readonly from: Tensor;
  readonly texture: OpTexture;
}

export type Command = RecordedDispatch | Copy | CopyToTexture;

/** Where a program's memory is. */
type ProgramDevice = Allocator & { readonly arena: Arena };

export class Program {
  readonly label: string;
  readonly #gpu: ProgramDevice;
  readonly #commands: readonly Command[];
  readonly #uniforms: GPUBuffer;
  #bindGroups: (GPUBindGroup | undefined)[] = [];
  #generation = -1;

  constructor(
    gpu: ProgramDevice,
    label: string,
    commands: readonly Command[],
    uniforms: Uint8Array<ArrayBuffer>,
  ) {
    this.label = label;
    this.#gpu = gpu;
    this.#commands = commands;
    this.#uniforms = gpu.createBuffer({
      label: `${label}/params`,
      size: uniforms.byteLength,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
      owner: "arena",
    });
    gpu.queue.writeBuffer(this.#uniforms, 0, uniforms);
  }

  /** Appends the program to `encoder`. */
  replay(encoder: GPUCommandEncoder): void {
    if (this.#generation !== this.#gpu.arena.generation) this.#bind();
    let pass: GPUComputePassEncoder | undefined;
    let current: Pipeline | undefined;
    for (const [i, command] of this.#commands.entries()) {
      if ("pipeline" in command) {
        pass ??= encoder.beginComputePass({ label: this.label });
        if (command.pipeline !== current) pass.setPipeline(command.pipeline.pipeline);
        current = command.pipeline;
        pass.setBindGroup(0, this.#bindGroups[i]!);
        pass.dispatchWorkgroups(...command.workgroups);
      } else {
        pass?.end();
        pass = current = undefined;
        if ("texture" in command) copyToTexture(encoder, command);
        else copyTensor(encoder, command.from, command.to);
      }
    }
    pass?.end();
  }

  dispose(): void {
    this.#gpu.destroyBuffer(this.#uniforms);
    this.#bindGroups = [];
  }

  #bind(): void {
    this.#generation = this.#gpu.arena.generation;
    this.#bindGroups = this.#commands.map((command) =>
      "pipeline" in command ? this.#bindGroup(command) : undefined
    );
  }

  #bindGroup(dispatch: RecordedDispatch): GPUBindGroup {
    return this.#gpu.device.createBindGroup({
      label: dispatch.label,
      layout: dispatch.pipeline.layout,
      entries: dispatch.kernel.bindings.map(({ name, index, kind }) => {
        if (kind === "uniform") {
          const { uniformOffset: offset, uniformSize: size } = dispatch;
          return { binding: index, resource: { buffer: this.#uniforms, offset, size } };
        }
        const bound = dispatch.bindings[name]!;
        if ("view" in bound) return { binding: index, resource: bound.view };
        if (!("storage" in bound)) return { binding: index, resource: bound };
        const { storage, byteOffset, byteLength } = bound;
        const size = Math.ceil(byteLength / 4) * 4;
        return { binding: index, resource: { buffer: storage.buffer, offset: byteOffset, size } };
      }),
    });
  }
}

function copyToTexture(encoder: GPUCommandEncoder, copy: CopyToTexture): void {
  const { from, texture, byteOffset, bytesPerRow, width, height, x, y } = copy;
  encoder.copyBufferToTexture(
    { buffer: from.storage.buffer, offset: from.byteOffset + byteOffset, bytesPerRow },
    { texture: texture.texture, origin: { x, y } },
    { width, height },
  );
}

/** Appends a copy of `from`'s bytes to `to`; both must have the same length. */
export function copyTensor(encoder: GPUCommandEncoder, from: Tensor, to: Tensor): void {
  if (from.byteLength !== to.byteLength) {
    throw new TypeError(
      `Cannot copy ${from.label} (${from.byteLength} bytes) to ${to.label} (${to.byteLength} bytes)`,
    );
  }
  encoder.copyBufferToBuffer(
    from.storage.buffer,
    from.byteOffset,
    to.storage.buffer,
    to.byteOffset,
    from.byteLength,
  );
}
