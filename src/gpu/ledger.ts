/** Who answers for a buffer: the parts of `GET /api/status`' memory report and a rest. */
export type Owner = "weights" | "arena" | "requests" | "cache" | "other";

/** Bytes of GPU memory by owner: the sum over every live buffer, so that it equals what is allocated. */
export class Ledger {
  readonly #bytes: Record<Owner, number> = {
    weights: 0,
    arena: 0,
    requests: 0,
    cache: 0,
    other: 0,
  };
  readonly #peaks: Record<Owner, number> = { ...this.#bytes };
  readonly #entries = new Map<object, { readonly owner: Owner; readonly bytes: number }>();
  #peak = 0;

  add(resource: object, owner: Owner, bytes: number): void {
    this.#entries.set(resource, { owner, bytes });
    this.#bytes[owner] += bytes;
    this.#peaks[owner] = Math.max(this.#peaks[owner], this.#bytes[owner]);
    this.#peak = Math.max(this.#peak, this.total);
  }

  remove(resource: object): boolean {
    const entry = this.#entries.get(resource);
    if (!entry) return false;
    this.#entries.delete(resource);
    this.#bytes[entry.owner] -= entry.bytes;
    return true;
  }

  bytes(owner: Owner): number {
    return this.#bytes[owner];
  }

  /** Largest `bytes(owner)` since the start. */
  peakOf(owner: Owner): number {
    return this.#peaks[owner];
  }

  get total(): number {
    let sum = 0;
    for (const bytes of Object.values(this.#bytes)) sum += bytes;
    return sum;
  }

  /** Largest `total` since the start or the last `resetPeak()`. */
  get peak(): number {
    return this.#peak;
  }

  resetPeak(): void {
    this.#peak = this.total;
  }

  /** Number of live resources, for leak tests. */
  get count(): number {
    return this.#entries.size;
  }
}
