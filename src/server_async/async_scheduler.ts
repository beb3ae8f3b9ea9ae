import { cloneScheduler } from "./clone_scheduler.ts";
import type { SetTimestepsOptions } from "../schedulers/scheduler.ts";

/** What is needed of a scheduler here; ours have more. */
export interface TimestepScheduler {
  readonly timesteps: ArrayLike<number>;
  setTimesteps(options: SetTimestepsOptions): void;
}

/** `SetTimestepsOptions` and whatever else the scheduler's own `setTimesteps` takes. */
export type ScheduleOptions = SetTimestepsOptions & Readonly<Record<string, unknown>>;

/** A wrapped scheduler: all members of the scheduler, and these. */
export type AsyncScheduler<S extends object> = S & {
  scheduler: S;
  cloneForRequest(options?: ScheduleOptions): AsyncScheduler<S>;
};

/**
 * Wraps a scheduler so that requests can take clones of it. The wrapper stands in for the scheduler
 * in both directions: reads, writes and methods, which run with the scheduler as `this`. Wrapping a
 * wrapped one returns it.
 */
class AsyncSchedulerProxy<S extends object> {
  scheduler!: S;

  constructor(scheduler: S) {
    if (typeof scheduler !== "object" || scheduler === null) {
      throw new TypeError(`A scheduler to wrap must be an object, not ${scheduler}`);
    }
    if (scheduler instanceof AsyncSchedulerProxy) return scheduler as unknown as this;
    this.scheduler = scheduler;
    return standIn(this);
  }

  /**
   * A wrapped copy that shares nothing with this scheduler, with its timesteps set if any option is
   * given.
   *
   * @throws {Error} if the scheduler cannot be copied, or what `setTimesteps` throws
   */
  cloneForRequest(options: ScheduleOptions = {}): AsyncScheduler<S> {
    const copy = cloneScheduler(this.scheduler);
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    if (given.length > 0) {
      (copy as unknown as TimestepScheduler).setTimesteps(Object.fromEntries(given));
    }
    const Wrapper = this.constructor as new (scheduler: S) => unknown;
    return new Wrapper(copy) as AsyncScheduler<S>;
  }

  toString(): string {
    return `${this.constructor.name} wrapping: ${this.scheduler}`;
  }

  [Symbol.for("Deno.customInspect")](inspect: (value: unknown) => string): string {
    return `${this.constructor.name}(${inspect(this.scheduler)})`;
  }

  [Symbol.for("nodejs.util.inspect.custom")](
    _depth: number,
    options: object,
    inspect: (value: unknown, options: object) => string,
  ): string {
    return `${this.constructor.name}(${inspect(this.scheduler, options)})`;
  }
}

function standIn<W extends AsyncSchedulerProxy<object>>(wrapper: W): W {
  const methods = new WeakMap<object, unknown>();
  const proxy = new Proxy(wrapper, {
    get(target, name, receiver) {
      if (name in target) return Reflect.get(target, name, receiver);
      const value: unknown = Reflect.get(target.scheduler, name, target.scheduler);
      if (typeof value !== "function") return value;
      if (!methods.has(value)) {
        methods.set(value, (...args: unknown[]) => {
          const result: unknown = Reflect.apply(value, target.scheduler, args);
          // A method that returns its scheduler, for chaining, stays behind the wrapper.
          return result === target.scheduler ? proxy : result;
        });
      }
      return methods.get(value);
    },
    set(target, name, value) {
      if (name !== "scheduler") return Reflect.set(target.scheduler, name, value, target.scheduler);
      target.scheduler = value instanceof AsyncSchedulerProxy ? value.scheduler : value;
      return true;
    },
    has: (target, name) => name in target || name in target.scheduler,
    deleteProperty: (target, name) => Reflect.deleteProperty(target.scheduler, name),
    defineProperty: (target, name, descriptor) =>
      Reflect.defineProperty(target.scheduler, name, { ...descriptor, configurable: true }),
    // `scheduler` is the one property of the target itself.
    ownKeys: (target) => [...new Set(["scheduler", ...Reflect.ownKeys(target.scheduler)])],
    getOwnPropertyDescriptor(target, name) {
      if (name === "scheduler") return Reflect.getOwnPropertyDescriptor(target, name);
      const own = Reflect.getOwnPropertyDescriptor(target.scheduler, name);
      return own && { ...own, configurable: true };
    },
  });
  return proxy;
}

Object.defineProperty(AsyncSchedulerProxy, "name", { value: "BaseAsyncScheduler" });

export const BaseAsyncScheduler: new <S extends object>(scheduler: S) => AsyncScheduler<S> =
  AsyncSchedulerProxy as never;

export interface RetrievedTimesteps {
  readonly timesteps: ArrayLike<number>;
  readonly numInferenceSteps: number;
}

/**
 * Sets a scheduler's timesteps from one of `numInferenceSteps`, `timesteps` and `sigmas`, and returns
 * them. With `returnScheduler` it works on a clone, which it returns too, and leaves `scheduler`
 * as it was. Other options go to the scheduler's `setTimesteps`.
 *
 * @throws {TypeError} if both `timesteps` and `sigmas` are given
 * @throws {Error} if a scheduler cannot be cloned, or what `setTimesteps` throws
 */
export function retrieveTimesteps<S extends TimestepScheduler>(
  scheduler: S,
  options: ScheduleOptions & { readonly returnScheduler: true },
): RetrievedTimesteps & { readonly timesteps: S["timesteps"]; readonly scheduler: S };
export function retrieveTimesteps<S extends TimestepScheduler>(
  scheduler: S,
  options: ScheduleOptions & { readonly returnScheduler?: false | undefined },
): RetrievedTimesteps & { readonly timesteps: S["timesteps"] };
export function retrieveTimesteps<S extends TimestepScheduler>(
  scheduler: S,
  { returnScheduler = false, ...options }: ScheduleOptions & {
    readonly returnScheduler?: boolean | undefined;
  },
): RetrievedTimesteps & { readonly scheduler?: S } {
  const { numInferenceSteps, timesteps, sigmas, ...others } = options;
  if (timesteps !== undefined && sigmas !== undefined) {
    throw new TypeError(
      "Only one of `timesteps` and `sigmas` can be given; choose one to set custom values",
    );
  }
  const used = returnScheduler ? independentCopy(scheduler) : scheduler;
  if (timesteps !== undefined) used.setTimesteps({ ...others, timesteps });
  else if (sigmas !== undefined) used.setTimesteps({ ...others, sigmas });
  else used.setTimesteps({ ...others, numInferenceSteps });
  const custom = timesteps ?? sigmas;
  const steps = custom === undefined && numInferenceSteps !== undefined
    ? numInferenceSteps
    : used.timesteps.length;
  const retrieved = { timesteps: used.timesteps, numInferenceSteps: steps };
  return returnScheduler ? { ...retrieved, scheduler: used } : retrieved;
}

function independentCopy<S extends TimestepScheduler>(scheduler: S): S {
  return scheduler instanceof AsyncSchedulerProxy
    ? (scheduler as unknown as AsyncScheduler<S>).cloneForRequest()
    : cloneScheduler(scheduler);
}
