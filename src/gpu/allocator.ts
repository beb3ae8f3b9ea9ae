/** Memory of a device: buffers, textures and tensors, each with an owner in the ledger. */
import { DeviceLostError, OutOfDeviceMemoryError } from "./errors.ts";
import { Ledger, type Owner } from "./ledger.ts";
import { bytesPerElement, type DType, elements, type Tensor } from "./tensor.ts";

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

export class Allocator {
  readonly device: GPUDevice;
  readonly queue: GPUQueue;
  readonly limits: GPUSupportedLimits;
  readonly ledger = new Ledger();
  /** Settles when the device is gone. */
  readonly lost: Promise<DeviceLostError>;
  #lost: DeviceLostError | undefined;
  #absent: Tensor | undefined;

  constructor(device: GPUDevice) {
    this.device = device;
    this.queue = device.queue;
    this.limits = device.limits;
    this.lost = device.lost.then(({ reason, message }) => {
      this.#lost = new DeviceLostError(`The GPU device was lost (${reason}): ${message}`);
      return this.#lost;
    });
  }

  /** @throws {DeviceLostError} when the device is gone */
  assertAlive(): void {
    if (this.#lost) throw this.#lost;
  }

  /** Frees the device and everything on it. */
  destroy(): void {
    this.#lost ??= new DeviceLostError("The GPU device was destroyed");
    this.device.destroy();
  }

  createBuffer({ label, size, owner, usage }: BufferRequest): GPUBuffer {
    this.assertAlive();
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
    this.assertAlive();
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
}
