import { type AsyncScheduler, BaseAsyncScheduler } from "./async_scheduler.ts";
import { cloneData, isPlainObject } from "./clone_data.ts";
import { isTokenizer, TokenizerLock } from "./tokenizer_lock.ts";
import { InvalidRequestError } from "../requests/errors.ts";

/** Any pipeline: an object whose `generate` works on what it finds under `this`. */
export interface PipelineLike {
  generate(request: never, options?: never): unknown;
  /** Has the networks where they compute until it is disposed of; a request runs inside. */
  readonly modelCpuOffloadContext?: unknown;
}

export interface RequestScopedOptions {
  /** Attributes that every request gets a copy of; `defaultMutableAttrs` if absent. */
  readonly mutableAttrs?: Iterable<string> | undefined;
  /** Also copy every attribute that is a container or a small typed array; default true. */
  readonly autoDetectMutables?: boolean | undefined;
  /** Typed arrays and containers with more elements stay shared; default 1,000,000. */
  readonly tensorNumelThreshold?: number | undefined;
  /** The lock that tokenizer calls go through; a new one if absent. */
  readonly tokenizerLock?: TokenizerLock | undefined;
  /** Give requests a `BaseAsyncScheduler` around their scheduler; default true. */
  readonly wrapScheduler?: boolean | undefined;
}

/**
 * State that pipelines of this kind keep in objects and change in place, by the names that diffusers
 * has for it. Numbers and texts need no copy: a write to them stays in the view.
 */
export const defaultMutableAttrs: readonly string[] = [
  ...["latents", "generator", "rngState", "progressBar", "progressBarConfig", "callbacks"],
  ...["_generator", "_rngState", "_progressBar", "_progressBarConfig", "_allHooks"],
];

/** Attributes with a rule of their own. */
const reserved = new Set(["constructor", "__proto__", "components", "scheduler"]);

type RequestOf<P extends PipelineLike> = Parameters<P["generate"]>[0];
type OptionsOf<P extends PipelineLike> = Parameters<P["generate"]>[1];
type ResultOf<P extends PipelineLike> = Awaited<ReturnType<P["generate"]>>;

/**
 * Runs requests beside each other on one pipeline. Each gets a view of it: an object whose prototype
 * is the pipeline, so that models and weights are shared, with copies of its own of what a request
 * changes. The pipeline itself is never written to.
 *
 * A view owns: a clone of the scheduler; the listed and detected mutable attributes; its tokenizers,
 * behind a lock (their methods answer with promises). Model parts that `components` lists, GPU
 * objects, and instances of classes stay shared; getters without setters are left alone.
 */
export class RequestScopedPipeline<P extends PipelineLike> {
  readonly base: P;
  readonly tokenizerLock: TokenizerLock;
  readonly #listed: ReadonlySet<string>;
  readonly #autoDetect: boolean;
  readonly #threshold: number;
  readonly #wrapScheduler: boolean;

  constructor(pipeline: P, options: RequestScopedOptions = {}) {
    if (typeof pipeline?.generate !== "function") {
      throw new TypeError("A request-scoped pipeline needs a pipeline with a generate method");
    }
    const threshold = options.tensorNumelThreshold ?? 1_000_000;
    if (!(threshold >= 0)) {
      throw new RangeError(`tensorNumelThreshold must not be negative, not ${threshold}`);
    }
    this.base = pipeline;
    this.tokenizerLock = options.tokenizerLock ?? new TokenizerLock();
    this.#listed = new Set(options.mutableAttrs ?? defaultMutableAttrs);
    this.#autoDetect = options.autoDetectMutables ?? true;
    this.#threshold = threshold;
    this.#wrapScheduler = options.wrapScheduler ?? true;
  }

  /** The pipeline's own components, as they are. */
  get components(): unknown {
    return (this.base as { components?: unknown }).components;
  }

  /**
   * Runs one request on a view of its own, inside the pipeline's `modelCpuOffloadContext()` if it has
   * one; `options` go to the pipeline's `generate`, and the signal to the tokenizer lock too. Rejects
   * with the signal's reason if it is aborted already, with
   * `InvalidRequestError` if the request's schedule is none, with an Error if the scheduler cannot be
   * cloned, and otherwise as the pipeline does.
   */
  async generate(request: RequestOf<P>, options?: OptionsOf<P>): Promise<ResultOf<P>> {
    const { signal } = (options ?? {}) as { signal?: AbortSignal };
    signal?.throwIfAborted();
    const view = this.createView(request, signal);
    await using _context = await this.#offloadContext();
    signal?.throwIfAborted();
    return await view.generate(request, options as never) as ResultOf<P>;
  }

  /** The view that `generate` runs a request on. */
  createView(request: RequestOf<P>, signal?: AbortSignal): P {
    const { base } = this;
    const view = Object.create(base) as P;
    const parts = componentsOf(base);
    const copy = this.#copier(new Set(parts?.values()), signal);
    const attributes = attributesOf(base);
    // Fields first: a frozen pipeline's accessors can then write to the view's own.
    for (const [name, descriptor] of attributes) {
      if (reserved.has(name) || !("value" in descriptor)) continue;
      const value: unknown = descriptor.value;
      const copied = this.#isMutable(name, value) ? copy(value, name) : value;
      if (copied !== value || descriptor.writable === false) own(view, name, copied);
    }
    for (const [name, { get, set }] of attributes) {
      if (reserved.has(name) || !get || !set) continue;
      const value = this.#listed.has(name) ? get.call(base) : attempt(() => get.call(base));
      const copied = this.#isMutable(name, value) ? copy(value, name) : value;
      if (copied !== value) assign(view, name, copied);
    }
    if (parts && "value" in (attributes.get("components") ?? {})) {
      this.#lockComponents(view, parts, signal);
    }
    const scheduler = this.#schedulerFor(request);
    if (scheduler) own(view, "scheduler", scheduler);
    return view;
  }

  /** The networks' place belongs to the pipeline, not to a view. */
  async #offloadContext(): Promise<AsyncDisposable | undefined> {
    const { modelCpuOffloadContext: enter } = this.base;
    return typeof enter === "function" ? await Reflect.apply(enter, this.base, []) : undefined;
  }

  #isMutable(name: string, value: unknown): boolean {
    if (value === null || (typeof value !== "object" && typeof value !== "function")) return false;
    if (this.#listed.has(name)) return typeof value === "object";
    return tokenizerName.test(name) || isNamedTokenizer(value) ||
      (this.#autoDetect && isContainer(value));
  }

  /** Copies an attribute's containers, leaves model parts alone and locks tokenizers. */
  #copier(parts: ReadonlySet<unknown>, signal: AbortSignal | undefined) {
    const replace = (value: object, path: string): unknown => {
      if (isTokenizer(value) && (tokenizerName.test(path) || isNamedTokenizer(value))) {
        return this.tokenizerLock.wrap(value, signal);
      }
      const stays = parts.has(value) || isResource(value) || sizeOf(value) > this.#threshold;
      return stays ? value : undefined;
    };
    return (attribute: unknown, name: string): unknown =>
      cloneData(attribute, (value, path, fill) => {
        const isListedValue = value === attribute && this.#listed.has(path);
        return isListedValue ? copyInstance(value, fill) : value;
      }, { path: name, replace });
  }

  /** A map of components of the view's own, if tokenizers are among them. */
  #lockComponents(
    view: P,
    parts: ReadonlyMap<string, unknown>,
    signal: AbortSignal | undefined,
  ): void {
    const locked = [...parts].map(([key, part]): [string, unknown] => {
      const isOne = isTokenizer(part) && (tokenizerName.test(key) || isNamedTokenizer(part));
      return [key, isOne ? this.tokenizerLock.wrap(part, signal) : part];
    });
    if (locked.every(([key, part]) => part === parts.get(key))) return;
    const asMap = this.components instanceof Map;
    own(view, "components", asMap ? new Map(locked) : Object.fromEntries(locked));
  }

  /** A clone of the scheduler, with the request's schedule set if it names one. */
  #schedulerFor(request: unknown): object | undefined {
    const { scheduler } = this.base as { scheduler?: unknown };
    if (typeof scheduler !== "object" || scheduler === null) return undefined;
    const clone: AsyncScheduler<object> = new BaseAsyncScheduler(scheduler).cloneForRequest();
    setSchedule(clone.scheduler as ScheduledByRequest, request);
    return this.#wrapScheduler || scheduler instanceof BaseAsyncScheduler ? clone : clone.scheduler;
  }
}

interface ScheduledByRequest {
  readonly config?: { readonly use_dynamic_shifting?: unknown };
  setTimesteps?(options: object): void;
}

const scheduleParameters = [
  ["timesteps", "timesteps"],
  ["sigmas", "sigmas"],
  ["numInferenceSteps", "num_inference_steps"],
] as const;

/**
 * Sets what the request says of its schedule. Custom sigmas or timesteps stand in place of a number
 * of steps. A dynamically shifted schedule depends on the image: without `mu` it is the pipeline's.
 */
function setSchedule(scheduler: ScheduledByRequest, request: unknown): void {
  if (typeof request !== "object" || request === null || !scheduler.setTimesteps) return;
  const fields = request as Record<string, unknown>;
  const found = scheduleParameters.find(([name]) =>
    fields[name] !== undefined && fields[name] !== null
  );
  if (!found) return;
  const { mu } = fields;
  if (scheduler.config?.use_dynamic_shifting && mu === undefined) return;
  const [name, param] = found;
  try {
    scheduler.setTimesteps({ [name]: fields[name], ...(mu !== undefined && { mu }) });
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError)) throw error;
    throw Object.assign(new InvalidRequestError(param, error.message), { cause: error });
  }
}

const tokenizerName = /tokenizer/i;

function isNamedTokenizer(value: object): boolean {
  return isTokenizer(value) && tokenizerName.test(value.constructor?.name ?? "");
}

function isContainer(value: object): boolean {
  return value instanceof Map || value instanceof Set || Array.isArray(value) ||
    ArrayBuffer.isView(value) || value instanceof ArrayBuffer || isPlainObject(value);
}

/** Elements of a typed array, array, Map or Set; bytes of a buffer; 0 for anything else. */
function sizeOf(value: object): number {
  if (value instanceof Map || value instanceof Set) return value.size;
  if (value instanceof ArrayBuffer || value instanceof DataView) return value.byteLength;
  return Array.isArray(value) || ArrayBuffer.isView(value) ? (value as Uint8Array).length : 0;
}

/** Whether an object owns or names GPU memory: a tensor, a buffer, anything to be destroyed. */
function isResource(value: object): boolean {
  const { destroy, dispose, buffer, storage } = value as Record<string, unknown>;
  if (typeof destroy === "function" || typeof dispose === "function") return true;
  if (Symbol.dispose in value || Symbol.asyncDispose in value) return true;
  const held = (storage as { buffer?: unknown } | null | undefined)?.buffer;
  return [value, buffer, held].some((part) =>
    Object.prototype.toString.call(part).startsWith("[object GPU")
  );
}

/** A listed instance of a class: its `clone()`, else its fields; host objects stay shared. */
function copyInstance(value: object, fill: (empty: object) => object): unknown {
  const { clone } = value as Record<string, unknown>;
  if (Object.prototype.toString.call(value) !== "[object Object]") return value;
  if (typeof clone === "function") return Reflect.apply(clone, value, []);
  return fill(Object.create(Object.getPrototypeOf(value)));
}

/** Named attributes of an object and of its prototypes, the nearest definition of each. */
function attributesOf(base: object): Map<string, PropertyDescriptor> {
  const attributes = new Map<string, PropertyDescriptor>();
  for (
    let owner: object | null = base;
    owner && Object.getPrototypeOf(owner) !== null;
    owner = Object.getPrototypeOf(owner)
  ) {
    for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(owner))) {
      if (!attributes.has(name)) attributes.set(name, descriptor);
    }
  }
  return attributes;
}

function componentsOf(base: object): ReadonlyMap<string, unknown> | undefined {
  const { components } = base as { components?: unknown };
  if (components instanceof Map) return components;
  return typeof components === "object" && components !== null
    ? new Map(Object.entries(components))
    : undefined;
}

function own(view: object, name: string, value: unknown): void {
  const descriptor = { value, writable: true, enumerable: true, configurable: true };
  Object.defineProperty(view, name, descriptor);
}

/** Through the setter, so that its backing field is the view's; one that rejects views is covered. */
function assign(view: object, name: string, value: unknown): void {
  try {
    Reflect.set(view, name, value, view);
  } catch {
    own(view, name, value);
  }
}

function attempt(read: () => unknown): unknown {
  try {
    return read();
  } catch {
    return undefined; // a getter that cannot answer yet has nothing to copy
  }
}
