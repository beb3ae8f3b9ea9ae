/** The device and what lives as long as it: its memory, queue, pipelines and arena. */
import {
  type AdapterSummary,
  type FamilyChoice,
  type KernelFamily,
  ownFamily,
  summarise,
} from "./adapter.ts";
import { Allocator } from "./allocator.ts";
import { Arena } from "./arena.ts";
import { DeviceUnavailableError, KernelError, OutOfDeviceMemoryError } from "./errors.ts";
import { PipelineCache } from "./pipelines.ts";
import type { Program } from "./program.ts";
import { Recorder, type RecordingDevice } from "./recorder.ts";
import { elements, type Tensor } from "./tensor.ts";
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

export interface GpuOptions {
  /** Default: this runtime's. */
  readonly api?: GPU | undefined;
  /** Which family of kernels runs on it. Default: `auto`, the adapter's own. */
  readonly kernels?: FamilyChoice | undefined;
}

/** Opens a device with the adapter's own limits. */
export async function openGpu(
  { api = globalThis.navigator?.gpu, kernels = "auto" }: GpuOptions = {},
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
  const summary = summarise(adapter.info, device.features.has("shader-f16"));
  return new Gpu(device, summary, kernels === "auto" ? undefined : kernels);
}

export class Gpu extends Allocator implements RecordingDevice {
  readonly adapter: AdapterSummary;
  readonly family: KernelFamily;
  readonly pipelines: PipelineCache;
  readonly arena: Arena;
  /** Who decides between kernels; a `Tuner` where they are to be timed. */
  tuner: KernelChooser = untuned;
  /**
   * Whether f16 weights lie in textures rather than in buffers: llvmpipe fetches a lane's 16 bytes of
   * a buffer at several times the cost of a texel.
   */
  readonly prefersTextures: boolean;
  /** An error that no scope caught; the next `submit` reports it and does nothing else. */
  #stray: Error | undefined;

  /** `family` in the place of the adapter's own runs the other kernels on it: slowly, and as well. */
  constructor(
    device: GPUDevice,
    adapter: AdapterSummary,
    family = ownFamily(adapter),
  ) {
    super(device);
    this.adapter = adapter;
    this.family = family;
    this.pipelines = new PipelineCache(device);
    this.arena = new Arena(this);
    this.prefersTextures = family === "software" &&
      (!adapter.isSoftware || /llvmpipe/i.test(adapter.description));
    device.addEventListener?.("uncapturederror", (event) => {
      this.#stray ??= asError((event as GPUUncapturedErrorEvent).error);
      event.preventDefault();
    });
  }

  /** Starts a recording; its pipelines and memory are this device's. */
  record(label: string): Recorder {
    this.assertAlive();
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
  async commands(
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
    this.assertAlive();
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
    this.assertAlive();
    if (thrown !== undefined) throw thrown;
    const error = popped.find((e) => e !== null);
    if (error) throw asError(error, label);
    return result as T;
  }

  /** Runs a program once. */
  run(program: Program): Promise<void> {
    return this.submit(program.label, (encoder) => program.replay(encoder));
  }

  /** Resolves when everything submitted so far has been executed. */
  async idle(): Promise<void> {
    await this.queue.onSubmittedWorkDone();
    this.assertAlive();
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
        this.assertAlive();
        throw error;
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
}

function asError(error: GPUError, label = "gpu"): Error {
  const message = error.message.trim();
  return error.constructor.name === "GPUOutOfMemoryError"
    ? new OutOfDeviceMemoryError(`${label}: ${message}`)
    : new KernelError(label, message);
}
