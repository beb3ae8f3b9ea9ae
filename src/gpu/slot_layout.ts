/**
 * One program's activations laid over as few buffers as they need, before it is known which buffers
 * of the arena those are. The program's largest buffer then is the arena's largest, its second the
 * second, and so on: the arena is no larger than its largest program needs, in whatever order
 * programs were recorded.
 */
import type { Arena, Slot } from "./arena.ts";
import { KernelError } from "./errors.ts";
import type { BufferHolder } from "./tensor.ts";

/** Where an activation will lie. */
export class PlannedSlot implements BufferHolder {
  slot: Slot | undefined;

  constructor(public size: number) {}

  get buffer(): GPUBuffer {
    if (!this.slot) {
      throw new KernelError("arena", "An activation was used before its recording ended");
    }
    return this.slot.buffer;
  }
}

/** Tries to place a layout: another recording's failure may undo what the first try found. */
const tries = 2;

export class SlotLayout {
  readonly #slots: PlannedSlot[] = [];
  readonly #taken = new Set<BufferHolder>();

  /** The best free slot for `bytes`, grown or made if none is large enough. */
  take(bytes: number): BufferHolder {
    const free = this.#slots.filter((slot) => !this.#taken.has(slot)).sort((a, b) =>
      a.size - b.size
    );
    let slot = free.find(({ size }) => size >= bytes) ?? free.at(-1);
    if (!slot) this.#slots.push(slot = new PlannedSlot(0));
    slot.size = Math.max(slot.size, bytes);
    this.#taken.add(slot);
    return slot;
  }

  /** Gives a slot to later takers; false if it was not taken. */
  release(slot: BufferHolder): boolean {
    return this.#taken.delete(slot);
  }

  /** Finds buffers for all slots; false if the device has no memory for them. */
  async place(arena: Arena): Promise<boolean> {
    const planned = this.#slots.toSorted((a, b) => b.size - a.size);
    for (let i = 0; i < tries; i++) {
      const slots = arena.reserve(planned.map(({ size }) => size));
      for (const [rank, slot] of planned.entries()) slot.slot = slots[rank];
      await arena.settled();
      if (planned.every(({ size }, rank) => slots[rank]!.size >= size)) return true;
    }
    return false;
  }
}
