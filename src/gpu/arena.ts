/**
 * Memory for activations, shared by every recorded program: programs run one after another on the
 * queue and none keeps anything in the arena, so each lays its tensors over the same few slots.
 * A slot is one buffer (WebGPU forbids reading and writing one buffer in one dispatch, so a single
 * large buffer would not do). The k-th slot is as large as the k-th largest of any program.
 */
import type { Allocator } from "./allocator.ts";
import type { BufferHolder } from "./tensor.ts";
import { type ScratchTexture, textureExtent } from "./texture.ts";

export interface Slot extends BufferHolder {
  readonly size: number;
}

interface GrowingSlot extends Slot {
  buffer: GPUBuffer;
  size: number;
}

interface GrowingTexture extends ScratchTexture {
  /** As asked for; the texture itself may be one texel larger. */
  width: number;
  height: number;
  bytes: number;
  texture: GPUTexture;
  view: GPUTextureView;
}

export class Arena {
  readonly #gpu: Allocator;
  readonly #slots: GrowingSlot[] = [];
  /** By width and index: ops of one network ask for one width, and for heights that vary. */
  readonly #textures = new Map<string, GrowingTexture>();
  #generation = 0;
  /** Buffers that the device has not yet said yes to. */
  readonly #pending = new Set<Promise<void>>();

  constructor(gpu: Allocator) {
    this.#gpu = gpu;
  }

  /** Changes when a slot's buffer was replaced: bind groups made before are stale. */
  get generation(): number {
    return this.#generation;
  }

  get bytes(): number {
    const textures = [...this.#textures.values()].reduce((sum, t) => sum + t.bytes, 0);
    return this.#slots.reduce((sum, slot) => sum + slot.size, textures);
  }

  /** Bytes of each slot, the largest first. */
  get sizes(): readonly number[] {
    return this.#slots.map((slot) => slot.size);
  }

  /** Slots of at least these sizes, which fall: grown or made where they are not yet as large. */
  reserve(sizes: readonly number[]): readonly Slot[] {
    return sizes.map((bytes, rank) => {
      const slot = this.#slots[rank] ?? { buffer: this.#create(rank, 0), size: 0 };
      this.#slots[rank] = slot;
      if (slot.size < bytes) this.#replace(slot, bytes);
      return slot;
    });
  }

  /**
   * Waits until it is known of every slot whether the device had memory for it. One that it had none
   * for is as small as before: compare `size` with what you need.
   */
  async settled(): Promise<void> {
    await Promise.all(this.#pending);
  }

  /** The `index`-th texture of this width, at least as high. Who takes it next overwrites it. */
  texture(width: number, height: number, index = 0): ScratchTexture {
    const key = `${width}/${index}`;
    const known = this.#textures.get(key);
    if (known && known.height >= height) return known;
    if (known) {
      this.#gpu.destroyTexture(known.texture);
      this.#generation++;
    }
    const texture = Object.assign(known ?? {}, this.#createTexture(key, width, height));
    this.#textures.set(key, texture);
    return texture;
  }

  /** Frees everything; recorded programs must not run again. */
  dispose(): void {
    for (const slot of this.#slots) this.#gpu.destroyBuffer(slot.buffer);
    for (const { texture } of this.#textures.values()) this.#gpu.destroyTexture(texture);
    this.#slots.length = 0;
    this.#textures.clear();
    this.#generation++;
  }

  #createTexture(key: string, width: number, height: number): GrowingTexture {
    const { maxTextureDimension2D: largest } = this.#gpu.limits;
    const extents = {
      width: textureExtent(width, largest),
      height: textureExtent(height, largest),
    };
    const texture = this.#gpu.createTexture({
      label: `arena/texture/${key}`,
      ...extents,
      format: "rgba32float",
      owner: "arena",
    });
    const bytes = 16 * extents.width * extents.height;
    return { width, height, bytes, texture, view: texture.createView() };
  }

  #replace(slot: GrowingSlot, bytes: number): void {
    const before = slot.size;
    const resize = (size: number) => {
      this.#gpu.destroyBuffer(slot.buffer);
      slot.buffer = this.#create(this.#slots.indexOf(slot), size);
      slot.size = size;
      this.#generation++;
    };
    const { device } = this.#gpu;
    device.pushErrorScope("out-of-memory");
    resize(bytes);
    // Programs that did with the smaller buffer must find it again.
    const answer = device.popErrorScope().then((error) => {
      this.#pending.delete(answer);
      if (error && slot.size === bytes) resize(before);
    });
    this.#pending.add(answer);
  }

  #create(index: number, size: number): GPUBuffer {
    return this.#gpu.createBuffer({ label: `arena/${index}`, size, owner: "arena" });
  }
}
