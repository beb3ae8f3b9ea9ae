/**
 * Record once, replay every step. Model code runs against a `Recorder`, which lays activations out
 * in the arena, packs uniforms and resolves pipelines.
 */
import type { AdapterSummary, KernelFamily } from "./adapter.ts";
import type { Allocator } from "./allocator.ts";
import type { Arena } from "./arena.ts";
import { BindingLimitError, KernelError, OutOfDeviceMemoryError } from "./errors.ts";
import { pieces } from "./grid.ts";
import { packParams } from "./kernel.ts";
import type { PipelineCache } from "./pipelines.ts";
import { type Command, type Dispatch, Program } from "./program.ts";
import { Activation, OpTexture, placeActivations, placeTextures } from "./slot_layout.ts";
import { bytesPerElement, type DType, elements, type Tensor } from "./tensor.ts";
import type { ScratchTexture, TextureCopy } from "./texture.ts";
import type { Candidate, KernelChooser, OpenQuestion, Question } from "./tuning.ts";

/** What ops and recordings know of their device. */
export interface RecordingDevice extends Allocator {
  readonly adapter: AdapterSummary;
  readonly family: KernelFamily;
  readonly prefersTextures: boolean;
  readonly pipelines: PipelineCache;
  readonly arena: Arena;
  readonly tuner: KernelChooser;
}

export class Recorder {
  readonly gpu: RecordingDevice;
  readonly #label: string;
  readonly #arena: Arena;
  readonly #activations: Activation[] = [];
  readonly #textures: OpTexture[] = [];
  readonly #commands: Command[] = [];
  readonly #uniforms: Uint8Array[] = [];
  readonly #uniformOffsets = new Map<string, number>();
  readonly #open = new Map<string, OpenQuestion>();
  #uniformBytes = 0;

  constructor(gpu: RecordingDevice, label: string) {
    this.gpu = gpu;
    this.#label = label;
    this.#arena = gpu.arena;
  }

  /**
   * An activation. Its memory is its own from the first command that writes it to the last that uses
   * it; what no later command reads is there when the program has run, and what none has written
   * before it is read is there from the start. Contents are undefined before the first write.
   */
  alloc(shape: readonly number[], label: string, dtype: DType = "f32"): Tensor {
    const byteLength = Math.max(4, Math.ceil(elements(shape) * bytesPerElement[dtype] / 4) * 4);
    const limit = this.gpu.limits.maxStorageBufferBindingSize;
    if (byteLength > limit) {
      throw new BindingLimitError(
        `${label}: an activation [${shape}] of ${byteLength} bytes is larger than this device ` +
          `binds (${limit})`,
      );
    }
    const storage = new Activation(Math.ceil(byteLength / 16) * 16);
    this.#activations.push(storage);
    return { label, shape, dtype, storage, byteOffset: 0, byteLength };
  }

  /** An activation that is filled before each run, also where commands then write to it. */
  input(shape: readonly number[], label: string, dtype: DType = "f32"): Tensor {
    const tensor = this.alloc(shape, label, dtype);
    (tensor.storage as Activation).life.use(-Infinity, false);
    return tensor;
  }

  /** Has activations last until the program has run, also where a command read them. */
  keep(...tensors: readonly Tensor[]): void {
    for (const { storage } of tensors) if (storage instanceof Activation) storage.life.keep();
  }

  /** What an op takes, by the device's tuner. */
  choose<C extends Candidate>(question: Question<C, Recorder>): C {
    const { key, candidates } = question;
    const [first] = candidates;
    if (!first) throw new KernelError(key, "There is no kernel to choose");
    if (candidates.length === 1) return first;
    const name = this.gpu.tuner.known(question);
    if (name === undefined) {
      this.#open.set(key, { question, count: 1 + (this.#open.get(key)?.count ?? 0) });
      return first;
    }
    return candidates.find((candidate) => candidate.name === name) ?? first;
  }

  /** Has what was asked decided. Resolves with whether a second recording would be another one. */
  async decide(): Promise<boolean> {
    if (this.#open.size === 0) return false;
    // What is wrong with this recording's pipelines is not the candidates' fault.
    await this.gpu.pipelines.settled();
    return await this.gpu.tuner.answer([...this.#open.values()]);
  }

  /** A tensor of this program that is like another program's activation; any other as it is. */
  standIn(tensor: Tensor): Tensor {
    const isActivation = tensor.storage instanceof Activation;
    return isActivation ? this.alloc(tensor.shape, tensor.label, tensor.dtype) : tensor;
  }

  dispatch(dispatch: Dispatch): void {
    const { kernel, label, grid, bindings } = dispatch;
    if (grid.some((n) => !Number.isInteger(n) || n! < 0)) {
      throw new KernelError(kernel.name, `${label}: grid [${grid}] is no number of workgroups`);
    }
    for (const { name, kind } of kernel.bindings) {
      if (kind !== "uniform" && !bindings[name]) {
        throw new KernelError(kernel.name, `${label}: nothing is bound to ${name}`);
      }
    }
    for (const { origin, size } of pieces(grid, this.gpu.limits.maxComputeWorkgroupsPerDimension)) {
      const bytes = packParams(kernel, dispatch.params ?? {}, origin);
      this.#commands.push({
        ...dispatch,
        pipeline: this.gpu.pipelines.get(kernel, dispatch.specialise),
        workgroups: size,
        uniformOffset: this.#place(bytes),
        uniformSize: bytes.byteLength,
      });
    }
  }

  /** Copies one tensor's bytes into another's. */
  copy(from: Tensor, to: Tensor): void {
    this.#commands.push({ from, to });
  }

  /** A texture for one op, which may fill and read it several times over. */
  scratchTexture(width: number): ScratchTexture {
    const texture = new OpTexture(width);
    this.#textures.push(texture);
    return texture;
  }

  /**
   * Copies part of a tensor into a texture: right after the copies before it, if no dispatch since
   * stands in the way. Every copy between dispatches ends a compute pass, which costs the host more
   * than a dispatch. A second copy of one tensor is left where it is: it would only hold another
   * texture for longer.
   */
  copyToTexture(from: Tensor, texture: ScratchTexture, rectangle: TextureCopy): void {
    const copy = { ...rectangle, from, texture: texture as OpTexture };
    copy.texture.height = Math.max(copy.texture.height, copy.y + copy.height);
    const before = this.#commands.findLastIndex((command) =>
      !("pipeline" in command) ||
      usesOf(command).some(([used, isWritten]) =>
        used === texture || (isWritten && used === from.storage)
      )
    );
    const dispatch = this.#commands.findLastIndex((command, i) =>
      i <= before && "pipeline" in command
    );
    const copiesBefore = this.#commands.slice(dispatch + 1, before + 1);
    const isMoved = copiesBefore.length > 0 &&
      !copiesBefore.some((command) =>
        "texture" in command && command.from.storage === from.storage && command.texture !== texture
      );
    this.#commands.splice(isMoved ? before + 1 : this.#commands.length, 0, copy);
  }

  /**
   * Ends the recording and waits until every new pipeline is known to be valid.
   *
   * @throws {OutOfDeviceMemoryError} if the device had no memory for the program's activations
   */
  async finish(): Promise<Program> {
    this.gpu.tuner.keep([...this.#open.values()]);
    await this.gpu.pipelines.settled();
    for (const [i, command] of this.#commands.entries()) {
      for (const [used, isWritten] of usesOf(command)) {
        if (used instanceof Activation || used instanceof OpTexture) used.life.use(i, isWritten);
      }
    }
    if (!await placeActivations(this.#arena, this.#activations)) {
      throw new OutOfDeviceMemoryError(`${this.#label}: the device has no memory for activations`);
    }
    placeTextures(this.#arena, this.#textures);
    return new Program(this.gpu, this.#label, this.#commands, this.#uniformData());
  }

  #place(bytes: Uint8Array): number {
    const key = bytes.join();
    const known = this.#uniformOffsets.get(key);
    if (known !== undefined) return known;
    const offset = this.#uniformBytes;
    const align = this.gpu.limits.minUniformBufferOffsetAlignment;
    this.#uniformBytes += Math.ceil(bytes.byteLength / align) * align;
    this.#uniforms.push(bytes);
    this.#uniformOffsets.set(key, offset);
    return offset;
  }

  #uniformData(): Uint8Array<ArrayBuffer> {
    const data = new Uint8Array(Math.max(16, this.#uniformBytes));
    const align = this.gpu.limits.minUniformBufferOffsetAlignment;
    let offset = 0;
    for (const bytes of this.#uniforms) {
      data.set(bytes, offset);
      offset += Math.ceil(bytes.byteLength / align) * align;
    }
    return data;
  }
}

/** The storages and textures that a command uses, and whether it writes them. */
function usesOf(command: Command): (readonly [used: unknown, isWritten: boolean])[] {
  if ("pipeline" in command) {
    return command.kernel.bindings.map(({ name, kind }) => {
      const bound = command.bindings[name];
      return [bound && "storage" in bound ? bound.storage : bound, kind === "storage"];
    });
  }
  const to = "texture" in command ? command.texture : command.to.storage;
  return [[command.from.storage, false], [to, true]];
}
