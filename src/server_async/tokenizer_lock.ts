import { Mutex } from "async-mutex";

/** A tokenizer behind a lock: the same members, methods answering with promises. */
export type Locked<T> =
  & {
    [K in keyof T]: T[K] extends (...args: infer A) => infer R ? (...args: A) => Promise<Awaited<R>>
      : T[K];
  }
  & (T extends (...args: infer A) => infer R ? (...args: A) => Promise<Awaited<R>> : unknown);

export interface TokenizerLockOptions {
  /**
   * Milliseconds that an aborted call may take to settle before it is given up for dead and loses
   * the lock; default 1000. Until then nobody else is let in: its tokenizer is still at work.
   */
  readonly abandonAfter?: number | undefined;
}

const originals = new WeakMap<object, object>();

/**
 * Lets one call at a time through to the tokenizers it guards, in the order of the calls. One lock
 * may guard several tokenizers and be shared between pipelines. An exception or an abort of a call
 * releases the lock.
 */
export class TokenizerLock {
  readonly #mutex = new Mutex();
  readonly #abandonAfter: number;

  constructor({ abandonAfter = 1000 }: TokenizerLockOptions = {}) {
    this.#abandonAfter = abandonAfter;
  }

  get isLocked(): boolean {
    return this.#mutex.isLocked();
  }

  /**
   * Runs `call` when its turn comes and settles as it does. An abort rejects with the signal's reason
   * at once: a call that still waits never starts, one that runs is waited for behind the scenes.
   */
  run<T>(call: () => T | PromiseLike<T>, signal?: AbortSignal): Promise<T> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    const result = Promise.withResolvers<T>();
    const aborted = Promise.withResolvers<void>();
    const onAbort = () => {
      result.reject(signal?.reason);
      aborted.resolve();
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#mutex.runExclusive(async () => {
      if (signal?.aborted) return undefined;
      let timer: ReturnType<typeof setTimeout> | undefined;
      let running = true;
      const abandoned = aborted.promise.then(() =>
        new Promise<undefined>((resolve) => {
          if (running) timer = setTimeout(() => resolve(undefined), this.#abandonAfter);
        })
      );
      try {
        const settled = (async () => ({ value: await call() }))();
        return await Promise.race([settled, abandoned]);
      } finally {
        running = false;
        clearTimeout(timer);
      }
    }).then(
      // Nothing to hand on after an abort: the caller has its answer already.
      (outcome) => outcome && result.resolve(outcome.value),
      result.reject,
    ).finally(() => signal?.removeEventListener("abort", onAbort));
    return result.promise;
  }

  /**
   * The tokenizer with every method (and, if it is a function, its call) behind this lock. The
   * tokenizer itself is not changed; what is wrapped already is wrapped anew from the original.
   * Inside one call the tokenizer's own methods call each other directly: no deadlock.
   */
  wrap<T extends object>(tokenizer: T, signal?: AbortSignal): Locked<T> {
    const original = unlocked(tokenizer);
    const methods = new Map<PropertyKey, { readonly of: unknown; readonly locked: unknown }>();
    const get = (_: object, name: PropertyKey): unknown => {
      const value = Reflect.get(original, name, original);
      if (typeof value !== "function" || name === "constructor") return value;
      const known = methods.get(name);
      if (known?.of === value) return known.locked;
      const locked = (...args: unknown[]) =>
        this.run(() => Reflect.apply(value, original, args), signal);
      methods.set(name, { of: value, locked });
      return locked;
    };
    // A stand-in as the proxy's target: a frozen tokenizer's own methods could not be replaced.
    const standIn = typeof original === "function" ? () => {} : {};
    const proxy = new Proxy(standIn, {
      get,
      set: (_, name, value) => Reflect.set(original, name, value, original),
      has: (_, name) => Reflect.has(original, name),
      ownKeys: () => Reflect.ownKeys(original),
      getOwnPropertyDescriptor: (_, name) => {
        const own = Reflect.getOwnPropertyDescriptor(original, name);
        return own &&
          { configurable: true, enumerable: own.enumerable ?? false, value: get(_, name) };
      },
      getPrototypeOf: () => Reflect.getPrototypeOf(original),
      apply: (_, receiver, args) =>
        this.run(() => Reflect.apply(original as () => unknown, receiver, args), signal),
    });
    originals.set(proxy, original);
    return proxy as unknown as Locked<T>;
  }
}

/** The tokenizer under a lock's wrapper, or the object itself. */
export function unlocked<T extends object>(tokenizer: T): T {
  return (originals.get(tokenizer) ?? tokenizer) as T;
}

const methods = ["encode", "decode", "tokenize"];
const marks = [
  ...["modelMaxLength", "vocabSize", "vocab", "padToken", "eosToken", "bosToken"],
  ...["model_max_length", "vocab_size", "pad_token", "eos_token", "bos_token"],
];

/**
 * Whether a value looks like a tokenizer: it encodes, decodes or can be called, and its class is
 * called one or it has a tokenizer's fields.
 */
export function isTokenizer(value: unknown): value is object {
  if (value === null || (typeof value !== "object" && typeof value !== "function")) return false;
  const object = unlocked(value) as Record<string, unknown>;
  const callable = typeof value === "function";
  if (!callable && !methods.some((name) => typeof object[name] === "function")) return false;
  const names = [object.constructor?.name, callable ? object.name : undefined];
  return names.some((name) => typeof name === "string" && /tokenizer/i.test(name)) ||
    marks.some((name) => name in object);
}
