/**
 * A program's activations and scratch textures laid over as little memory as they need, when all its
 * commands are known. The program's largest buffer then is the arena's largest, its second the
 * second, and so on: the arena is no larger than its largest program needs, in whatever order
 * programs were recorded.
 */
import type { Arena, Slot } from "./arena.ts";
import { KernelError } from "./errors.ts";
import { Lifetime, type Living, takingTurns } from "./lifetime.ts";
import type { BufferHolder } from "./tensor.ts";
import type { ScratchTexture } from "./texture.ts";

/** An activation's memory. Where it lies is known when its recording ends. */
export class Activation implements BufferHolder, Living {
  readonly life = new Lifetime();
  slot: Slot | undefined;

  constructor(readonly size: number) {}

  get buffer(): GPUBuffer {
    if (!this.slot) {
      throw new KernelError("arena", "An activation was used before its recording ended");
    }
    return this.slot.buffer;
  }
}

/** A texture for one op: as high as what is copied into it. */
export class OpTexture implements ScratchTexture, Living {
  readonly life = new Lifetime();
  height = 0;
  place: ScratchTexture | undefined;

  constructor(readonly width: number) {}

  get texture(): GPUTexture {
    return this.#placed.texture;
  }

  get view(): GPUTextureView {
    return this.#placed.view;
  }

  get #placed(): ScratchTexture {
    if (!this.place) {
      throw new KernelError("arena", "A texture was used before its recording ended");
    }
    return this.place;
  }
}

/** Tries to place activations: another recording's failure may undo what the first try found. */
const tries = 2;

/** Finds buffers for activations; false if the device has no memory for them. */
export async function placeActivations(
  arena: Arena,
  activations: readonly Activation[],
): Promise<boolean> {
  const groups = takingTurns(activations.toSorted((a, b) => b.size - a.size));
  const sizes = groups.map(([largest]) => largest!.size);
  for (let i = 0; i < tries; i++) {
    const slots = arena.reserve(sizes);
    for (const [rank, group] of groups.entries()) {
      for (const activation of group) activation.slot = slots[rank];
    }
    await arena.settled();
    if (sizes.every((size, rank) => slots[rank]!.size >= size)) return true;
  }
  return false;
}

/** Finds textures; those of one width share. */
export function placeTextures(arena: Arena, textures: readonly OpTexture[]): void {
  for (const [width, alike] of Map.groupBy(textures, (texture) => texture.width)) {
    const groups = takingTurns(alike.toSorted((a, b) => b.height - a.height));
    for (const [index, group] of groups.entries()) {
      const place = arena.texture(width, group[0]!.height, index);
      for (const texture of group) texture.place = place;
    }
  }
}
