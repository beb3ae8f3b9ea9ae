/** The device and what lives as long as it: limits, queue, pipelines, arena, memory ledger. */
import { Arena } from "./arena.ts";
import {
  DeviceLostError,
  DeviceUnavailableError,
  KernelError,
  OutOfDeviceMemoryError,
} from "./errors.ts";
import { Ledger, type Owner } from "./ledger.ts";
import { PipelineCache } from "./pipelines.ts";
import { type Program, Recorder } from "./program.ts";
import { bytesPerElement, type DType, elements, type Tensor } from "./tensor.ts";
import { type KernelChooser, untuned } from "./tuning.ts";

/** Used where present; no kernel needs one. */
const optionalFeatures: readonly GPUFeatureName[] = ["shader-f16", "timestamp-query", "subgroups"];

/** Limits that are asked for at the adapter's own values. */
const wantedLimits = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupsPerDimension",
  "maxTextureDimension2D",
] as const;

export interface AdapterSummary {
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  /** Invocations that run as one on this adapter, where it says so. */
  readonly subgroupSize?: number | undefined;
  /** A CPU pretending to be a GPU: other kernels win there. */
  readonly isSoftware: boolean;
  /** Whether the device computes with f16. */
  readonly shaderF16?: boolean | undefined;
}

export interface BufferRequest {
  readonly label: string;
  readonly size: number;
  readonly owner: Owner;
  /** Default: storage that can be copied from and to. */
  readonly usage?: number;
}

export interface TextureRequest {
  readonly label: string;
  /** In texels, at most `maxTextureDimension2D` each. */
  readonly width: number;
  readonly height: number;
  /** Four f32 a texel, or four u32. */
  readonly format: "rgba32float" | "rgba32uint";
  readonly owner: Owner;
}

/** Opens a device with the adapter's own limits. */
export async function openGpu(
  api: GPU | undefined = globalThis.navigator?.gpu,
): Promise<Gpu> {
  const adapter = await api?.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) {
    throw new DeviceUnavailableError(
      api
        ? "No WebGPU adapter was found: install a Vulkan, Metal or DirectX 12 driver"
        : "This runtime has no WebGPU",
    );
  }
  const requiredLimits: Record<string, number> = {};
  for (const name of wantedLimits) requiredLimits[name] = adapter.limits[name];
  const device = await adapter.requestDevice({
    label: "stable diffusion",
    requiredFeatures: optionalFeatures.filter((feature) => adapter.features.has(feature)),
    requiredLimits,
  });
  return new Gpu(device, {
    ...summarise(adapter.info),
    shaderF16: device.features.has("shader-f16"),
  });
}

function summarise(info: GPUAdapterInfo): AdapterSummary {
  const isSoftware = (info as { isFallbackAdapter?: boolean }).isFallbackAdapter === true ||
    /llvmpipe|lavapipe|swiftshader|software/i.test(
      `${info.vendor} ${info.architecture} ${info.description}`,
    );
  return {
    vendor: info.vendor,
    architecture: info.architecture,
    description: info.description,
    subgroupSize: (info as { subgroupMinSize?: number }).subgroupMinSize || undefined,
    isSoftware,
  };
}

export class Gpu {
  readonly device: GPUDevice;
  readonly queue: GPUQueue;
  readonly limits: GPUSupportedLimits;
  readonly adapter: AdapterSummary;
  readonly ledger = new Ledger();
  readonly pipelines: PipelineCache;
  readonly arena: Arena;
  /** Who decides between kernels; a `Tuner` where they are to be timed. */
  tuner: KernelChooser = untuned;
  /**
   * Whether f16 weights lie in textures rather than in buffers: llvmpipe fetches a lane's 16 bytes of
   * a buffer at several times the cost of a texel.
   */
  readonly prefersTextures: boolean;
  /** Settles when the device is gone. */
  readonly lost: Promise<DeviceLostError>;
  #lost: DeviceLostError | undefined;
  #absent: Tensor | undefined;
  /** An error that no scope caught; the next `submit` reports it and does nothing else. */
  #stray: Error | undefined;

  constructor(device: GPUDevice, adapter: AdapterSummary) {
    this.device = device;
    this.queue = device.queue;
    this.limits = device.limits;
    this.adapter = adapter;
    this.pipelines = new PipelineCache(device);
    this.arena = new Arena(this);
    this.prefersTextures = adapter.isSoftware && /llvmpipe/i.test(adapter.description);
    this.lost = device.lost.then(({ reason, message }) => {
      this.#lost = new DeviceLostError(`The GPU device was lost (${reason}): ${message}`);
      return this.#lost;
    });
    device.addEventListener?.("uncapturederror", (event) => {
      this.#stray ??= asError((event as GPUUncapturedErrorEvent).error);
      event.preventDefault();
    });
  }

  createBuffer({ label, size, owner, usage }: BufferRequest): GPUBuffer {
    if (this.#lost) throw this.#lost;
    if (size > this.limits.maxBufferSize) {
      throw new OutOfDeviceMemoryError(
        `${label}: ${size} bytes exceed the device's largest buffer (${this.limits.maxBufferSize})`,
      );
    }
    const rounded = Math.max(16, Math.ceil(size / 16) * 16);
    const buffer = this.device.createBuffer({
      label,
      size: rounded,
      usage: usage ?? GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    this.ledger.add(buffer, owner, rounded);
    return buffer;
  }

  destroyBuffer(buffer: GPUBuffer): void {
    if (this.ledger.remove(buffer)) buffer.destroy();
  }

  /** A texture of 16 bytes a texel, to copy into and to read from kernels. */
  createTexture({ label, width, height, format, owner }: TextureRequest): GPUTexture {
    if (this.#lost) throw this.#lost;
    const texture = this.device.createTexture({
      label,
      format,
      size: [width, height],
      usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_DST | GPUTextureUsage.COPY_SRC,
    });
    this.ledger.add(texture, owner, 16 * width * height);
    return texture;
  }

  destroyTexture(texture: GPUTexture): void {
    if (this.ledger.remove(texture)) texture.destroy();
  }

  /** A tensor of its own, outside the arena. */
  createTensor(
    shape: readonly number[],
    label: string,
    owner: Owner,
    dtype: DType = "f32",
  ): Tensor {
    const byteLength = Math.max(4, Math.ceil(elements(shape) * bytesPerElement[dtype] / 4) * 4);
    const buffer = this.createBuffer({ label, size: byteLength, owner });
    return { label, shape, dtype, storage: { buffer }, byteOffset: 0, byteLength };
  }

  /** A new tensor holding `data`. */
  upload(
    data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer>,
    shape: readonly number[],
    label: string,
    owner: Owner,
  ): Tensor {
    const tensor = this.createTensor(
      shape,
      label,
      owner,
      data instanceof Float32Array ? "f32" : "u32",
    );
    this.write(tensor, data);
    return tensor;
  }

  write(tensor: Tensor, data: ArrayBufferView<ArrayBuffer>): void {
    if (data.byteLength > tensor.byteLength) {
      throw new TypeError(
        `${tensor.label}: ${data.byteLength} bytes do not fit ${tensor.byteLength}`,
      );
    }
    this.queue.writeBuffer(tensor.storage.buffer, tensor.byteOffset, data);
  }

  destroyTensor(...tensors: readonly Tensor[]): void {
    for (const tensor of tensors) this.destroyBuffer(tensor.storage.buffer);
  }

  /** Bound where a kernel declares a buffer that this call does not use. */
  get absent(): Tensor {
    return this.#absent ??= this.createTensor([4], "absent", "other");
  }

  /** Starts a recording; its pipelines and memory are this device's. */
  record(label: string): Recorder {
    if (this.#lost) throw this.#lost;
    return new Recorder(this, label);
  }

  /**
   * Encodes and submits in one command buffer. Rejects with what the device says of exactly these
   * commands; resolving means valid and queued, not done.
   */
  async submit(label: string, encode: (encoder: GPUCommandEncoder) => void): Promise<void> {
    await this.scope(label, () => this.queue.submit([this.#finish(label, encode)]));
  }

  /**
   * Encodes a command buffer to be submitted later, and once. Rejects with what the device says of
   * it. `submit` calls `write` first, for values that must not be written earlier, and encodes again
   * if buffers of the arena were replaced in the meantime.
   */
  async encode(
    label: string,
    encode: (encoder: GPUCommandEncoder) => void,
  ): Promise<{ submit(write: () => void): Promise<void> }> {
    const { commands, generation } = await this.scope(label, () => ({
      commands: this.#finish(label, encode),
      generation: this.arena.generation,
    }));
    return {
      submit: (write) =>
        this.scope(label, () => {
          const valid = generation === this.arena.generation;
          const current = valid ? commands : this.#finish(label, encode);
          write();
          this.queue.submit([current]);
        }),
    };
  }

  #finish(label: string, encode: (encoder: GPUCommandEncoder) => void): GPUCommandBuffer {
    const encoder = this.device.createCommandEncoder({ label });
    encode(encoder);
    return encoder.finish({ label });
  }

  /** Runs `work` and rejects with the GPU errors it caused, typed and labelled. */
  async scope<T>(label: string, work: () => T): Promise<T> {
    if (this.#lost) throw this.#lost;
    // Before the work: what rejects here has not been executed, and may be tried again.
    if (this.#stray) {
      const stray = this.#stray;
      this.#stray = undefined;
      throw stray;
    }
    const filters = ["internal", "validation", "out-of-memory"] as const;
    for (const filter of filters) this.device.pushErrorScope(filter);
    let result: T | undefined;
    let thrown: unknown;
    try {
      result = work();
    } catch (error) {
      thrown = error ?? new Error(`${label} failed`);
    }
    const popped = await Promise.all(filters.map(() => this.device.popErrorScope()));
    if (this.#lost) throw this.#lost;
    if (thrown !== undefined) throw thrown;
    const error = popped.find((e) => e !== null);
    if (error) throw asError(error, label);
    return result as T;
  }

  /** Runs a program once. */
  run(program: Program): Promise<void> {
    return this.submit(program.label, (encoder) => program.encode(encoder));
  }

  /** Resolves when everything submitted so far has been executed. */
  async idle(): Promise<void> {
    await this.queue.onSubmittedWorkDone();
    if (this.#lost) throw this.#lost;
  }

  /** Bytes of a tensor, after everything submitted so far. */
  async readBytes(tensor: Tensor): Promise<ArrayBuffer> {
    const size = Math.ceil(tensor.byteLength / 4) * 4;
    const staging = this.createBuffer({
      label: `${tensor.label}/readback`,
      size,
      owner: "other",
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    try {
      await this.submit(
        `${tensor.label}/readback`,
        (encoder) =>
          encoder.copyBufferToBuffer(tensor.storage.buffer, tensor.byteOffset, staging, 0, size),
      );
      try {
        await staging.mapAsync(GPUMapMode.READ, 0, size);
      } catch (error) {
        // The mapping may be refused a moment before the device says that it is lost.
        await new Promise((resolve) => setTimeout(resolve));
        throw this.#lost ?? error;
      }
      return staging.getMappedRange(0, size).slice(0);
    } finally {
      this.destroyBuffer(staging);
    }
  }

  /** Values of an f32 or f16 tensor, after everything submitted so far. */
  async readFloats(tensor: Tensor): Promise<Float32Array<ArrayBuffer>> {
    const bytes = await this.readBytes(tensor);
    const count = elements(tensor.shape);
    return tensor.dtype === "f16"
      ? Float32Array.from(new Float16Array(bytes, 0, count))
      : new Float32Array(bytes, 0, count);
  }

  /** Frees the device and everything on it. */
  destroy(): void {
    this.#lost ??= new DeviceLostError("The GPU device was destroyed");
    this.device.destroy();
  }
}

function asError(error: GPUError, label = "gpu"): Error {
  const message = error.message.trim();
  return error.constructor.name === "GPUOutOfMemoryError"
    ? new OutOfDeviceMemoryError(`${label}: ${message}`)
    : new KernelError(label, message);
}
