import assert from "node:assert/strict";
import { InvalidRequestError } from "../../src/requests/errors.ts";
import { RequestScopedPipeline } from "../../src/server_async/request_scoped.ts";
import { BaseAsyncScheduler, retrieveTimesteps } from "../../src/server_async/async_scheduler.ts";
import { FlowMatchEulerDiscreteScheduler } from "../../src/schedulers/flow_match_euler.ts";
import { TokenizerLock } from "../../src/server_async/tokenizer_lock.ts";

const pause = (ms = 0) => new Promise<void>((resolve) => setTimeout(resolve, ms));

interface Request {
  readonly prompt: string;
  readonly numInferenceSteps?: number;
  readonly sigmas?: readonly number[];
}

class SlowTokenizer {
  running = 0;
  most = 0;
  readonly modelMaxLength = 8;

  async encode(text: string) {
    this.most = Math.max(this.most, ++this.running);
    await pause(1);
    this.running--;
    return Array.from(text, (char) => char.charCodeAt(0));
  }
}

class GPUTensor {
  readonly buffer = { bytes: new Uint8Array(4) };
  destroyed = false;
  destroy() {
    this.destroyed = true;
  }
}

/** A pipeline that changes everything it can reach while it runs, and yields between steps. */
class Greedy {
  scheduler: FlowMatchEulerDiscreteScheduler = new FlowMatchEulerDiscreteScheduler({ shift: 3 });
  transformer = { weights: new Float32Array(64).fill(1), calls: new GPUTensor() };
  tokenizer = new SlowTokenizer();
  components: Record<string, unknown> = {
    transformer: this.transformer,
    tokenizer: this.tokenizer,
  };
  latents = new Float32Array(4);
  history: { step: number }[] = [];
  options = new Map<string, string[]>([["words", []]]);
  tags = new Set(["base"]);
  nested: { deep: { list: number[] } } = { deep: { list: [0] } };
  bytes = new Uint8ClampedArray([250]);
  wide = new Float64Array(1001);
  tensor = new GPUTensor();
  lastSeed = 0;
  private hidden = [1];
  views: unknown[] = Object.freeze([]) as unknown as unknown[];

  get size() {
    return this.latents.length;
  }

  get record() {
    return this.hidden;
  }

  set record(value: number[]) {
    this.hidden = value;
  }

  async generate(request: Request, { onStep, signal }: {
    readonly onStep?: (step: number) => void;
    readonly signal?: AbortSignal;
  } = {}) {
    const ids = await this.tokenizer.encode(request.prompt);
    retrieveTimesteps(this.scheduler, { numInferenceSteps: request.numInferenceSteps ?? 3 });
    this.lastSeed = ids.length;
    this.latents.fill(1);
    for (const timestep of this.scheduler.timesteps) {
      await pause();
      signal?.throwIfAborted();
      if (request.prompt === "fail") throw new Error("failed on purpose");
      this.latents = this.scheduler.step(this.latents, timestep, this.latents) as never;
      this.history.push({ step: this.scheduler.stepIndex! });
      this.options.get("words")!.push(request.prompt);
      this.tags.add(request.prompt);
      this.nested.deep.list.push(timestep);
      this.bytes[0]!--;
      this.record.push(timestep);
      onStep?.(this.scheduler.stepIndex!);
    }
    return {
      view: this as Greedy,
      ids,
      latents: [...this.latents],
      steps: this.history.length,
      words: this.options.get("words"),
      record: this.record.length,
    };
  }
}

/** Everything of a pipeline that a request could have changed, and who is who. */
function stateOf(base: Greedy) {
  const { scheduler, transformer, tokenizer, latents, history, options, tags, nested, wide } = base;
  return {
    identities: [scheduler, transformer, tokenizer, latents, history, options, tags, nested, wide],
    components: { ...base.components },
    keys: Reflect.ownKeys(base),
    values: structuredClone({
      ...{ history, options, tags, nested, latents, bytes: base.bytes, lastSeed: base.lastSeed },
      record: base.record,
      sigmas: scheduler.sigmas,
      timesteps: scheduler.timesteps,
      stepIndex: scheduler.stepIndex,
      weights: transformer.weights,
    }),
  };
}

function assertUnchanged(base: Greedy, before: ReturnType<typeof stateOf>) {
  const after = stateOf(base);
  assert.deepEqual(after.values, before.values);
  assert.deepEqual(after.keys, before.keys);
  after.identities.forEach((value, i) => assert.equal(value, before.identities[i]));
  for (const [key, part] of Object.entries(before.components)) {
    assert.equal(after.components[key], part);
  }
}

Deno.test("interleaved requests give what they give alone, and the base stays as it was", async () => {
  const base = new Greedy();
  const before = stateOf(base);
  const scoped = new RequestScopedPipeline(base);
  const requests: Request[] = Array.from({ length: 8 }, (_, i) => ({
    prompt: "p".repeat(i + 1),
    numInferenceSteps: 2 + i % 4,
  }));
  const alone: Awaited<ReturnType<Greedy["generate"]>>[] = [];
  for (const request of requests) alone.push(await scoped.generate(request));
  const together = await Promise.all(requests.map((request) => scoped.generate(request)));
  requests.forEach((request, i) => {
    const { view: _, ...expected } = alone[i]!;
    const { view, ...actual } = together[i]!;
    assert.deepEqual(actual, expected);
    assert.equal(actual.steps, request.numInferenceSteps);
    assert.deepEqual(new Set(actual.words), new Set([request.prompt]));
    assert.equal(actual.record, 1 + request.numInferenceSteps!);
    assert.equal(view.lastSeed, request.prompt.length);
  });
  assert.equal(new Set(together.map(({ view }) => view.scheduler)).size, requests.length);
  assertUnchanged(base, before);
});

Deno.test("requests that throw or are aborted leave the base as it was", async () => {
  const base = new Greedy();
  const before = stateOf(base);
  const scoped = new RequestScopedPipeline(base);
  const abort = new AbortController();
  const onStep = (step: number) => step === 2 && abort.abort(new Error("gone"));
  const results = await Promise.allSettled([
    scoped.generate({ prompt: "fail" }),
    scoped.generate({ prompt: "good" }),
    scoped.generate({ prompt: "long", numInferenceSteps: 50 }, { signal: abort.signal, onStep }),
    scoped.generate({ prompt: "zero", numInferenceSteps: 0 }),
  ]);
  assert.deepEqual(results.map(({ status }) => status), [
    "rejected",
    "fulfilled",
    "rejected",
    "rejected",
  ]);
  const reasons = results.map((result) => result.status === "rejected" ? result.reason : undefined);
  assert.match(String(reasons[0]), /failed on purpose/);
  assert.match(String(reasons[2]), /gone/);
  assert.ok(
    reasons[3] instanceof InvalidRequestError && reasons[3].param === "num_inference_steps",
  );
  assertUnchanged(base, before);
  await assert.rejects(
    scoped.generate({ prompt: "late" }, { signal: abort.signal }),
    (error) => error === abort.signal.reason,
  );
});

Deno.test("containers and small typed arrays are cloned with their types", () => {
  class Notes extends Array<string> {}
  class Index extends Map<string, number[]> {}
  const base = {
    map: new Map([[{ key: 1 }, new Set([[1]])]]),
    set: new Set([1]),
    list: [1, , 3],
    plain: { a: { b: [1] }, ["__proto__x"]: 1 },
    bare: Object.assign(Object.create(null), { x: [1] }),
    half: new Uint16Array([1, 2]),
    big: new BigUint64Array([5n]),
    raw: new ArrayBuffer(3),
    view: new DataView(new ArrayBuffer(8), 2, 4),
    notes: Notes.from(["a"]),
    index: new Index([["a", [1]]]),
    nothing: null,
    text: "text",
    generate: () => undefined,
  };
  const view = new RequestScopedPipeline(base).createView(undefined as never);
  for (const [name, value] of Object.entries(base)) {
    const copied = Reflect.get(view, name);
    if (value === null || typeof value !== "object") {
      assert.ok(!Object.hasOwn(view, name), name);
      continue;
    }
    assert.notEqual(copied, value, name);
    assert.equal(Object.getPrototypeOf(copied), Object.getPrototypeOf(value), name);
    assert.deepEqual(copied, value, name);
  }
  assert.notEqual(view.plain.a.b, base.plain.a.b);
  assert.notEqual(view.index.get("a"), base.index.get("a"));
  assert.ok(!(1 in view.list));
  view.notes.push("b");
  assert.equal(base.notes.length, 1);
  new DataView(view.raw).setUint8(0, 9);
  assert.equal(new Uint8Array(base.raw)[0], 0);
});

Deno.test("a Buffer is copied, not aliased", () => {
  const base = { note: new Uint8Array([1, 2, 3]).subarray(1), generate: () => 0 };
  const view = new RequestScopedPipeline(base).createView(undefined as never);
  view.note[0] = 9;
  assert.deepEqual([...base.note], [2, 3]);
  assert.deepEqual([...view.note], [9, 3]);
});

Deno.test("larger arrays, GPU objects, model parts and class instances stay shared", () => {
  const base = new Greedy();
  const scoped = new RequestScopedPipeline(base, { tensorNumelThreshold: 1000 });
  const view = scoped.createView({ prompt: "" });
  assert.equal(view.wide, base.wide);
  assert.equal(view.tensor, base.tensor);
  assert.equal(view.transformer, base.transformer);
  assert.equal(view.components.transformer, base.transformer);
  assert.notEqual(view.latents, base.latents);
  assert.equal(scoped.components, base.components);
  const all = new RequestScopedPipeline(base).createView({ prompt: "" });
  assert.notEqual(all.wide, base.wide);
  const buffer = { [Symbol.toStringTag]: "GPUBuffer" };
  const tensors = { bare: buffer, tensor: { storage: { buffer }, shape: [1] }, generate: () => 0 };
  const tensorView = new RequestScopedPipeline(tensors).createView(undefined as never);
  assert.equal(tensorView.tensor, tensors.tensor);
  assert.equal(tensorView.bare, buffer);
  const nested = { weights: { big: new Float32Array(11), small: new Float32Array(10) } };
  const other = { ...nested, generate: () => 0 };
  const scopedOther = new RequestScopedPipeline(other, { tensorNumelThreshold: 10 });
  const otherView = scopedOther.createView(undefined as never);
  assert.equal(otherView.weights.big, nested.weights.big);
  assert.notEqual(otherView.weights.small, nested.weights.small);
});

Deno.test("only listed attributes are cloned without auto-detection", () => {
  class Generator {
    state = [1];
    clone() {
      const copy = new Generator();
      copy.state = [...this.state, 2];
      return copy;
    }
  }
  class Progress {
    bars = [1];
  }
  const base = Object.assign(new Greedy(), {
    generator: new Generator(),
    bar: new Progress(),
    listedTensor: new GPUTensor(),
    reading: Promise.resolve(),
  });
  const view = new RequestScopedPipeline(base, {
    mutableAttrs: [
      "history",
      "generator",
      "bar",
      "listedTensor",
      "reading",
      "absent",
      "components",
    ],
    autoDetectMutables: false,
  }).createView({ prompt: "" });
  assert.notEqual(view.history, base.history);
  assert.deepEqual(view.generator.state, [1, 2]);
  assert.ok(view.bar instanceof Progress && view.bar !== base.bar);
  assert.notEqual(view.bar.bars, base.bar.bars);
  assert.equal(view.listedTensor, base.listedTensor);
  assert.equal(view.reading, base.reading);
  assert.equal(view.options, base.options);
  assert.equal(view.latents, base.latents);
  assert.ok(!("absent" in view));
  const defaults = new RequestScopedPipeline(base, { autoDetectMutables: false });
  assert.notEqual(defaults.createView({ prompt: "" }).latents, base.latents);
  assert.notEqual(view.tokenizer, base.tokenizer);
});

Deno.test("getters without setters are skipped, broken ones too, setters reach the view", () => {
  let reads = 0;
  class Guarded {
    _value = { list: [1] };
    get only() {
      reads++;
      return [1];
    }
    get broken(): unknown[] {
      throw new Error("not loaded");
    }
    set broken(_: unknown[]) {}
    get value() {
      return this._value;
    }
    set value(value: { list: number[] }) {
      this._value = value;
    }
    generate() {
      this.value.list.push(2);
      return this.only;
    }
  }
  const base = new Guarded();
  const scoped = new RequestScopedPipeline(base);
  const view = scoped.createView(undefined as never);
  assert.equal(reads, 0);
  assert.ok(!Object.hasOwn(view, "only"));
  assert.ok(Object.hasOwn(view, "_value") && !Object.hasOwn(view, "value"));
  view.generate();
  assert.deepEqual(view.value.list, [1, 2]);
  assert.deepEqual(base.value.list, [1]);
  const listed = new RequestScopedPipeline(base, { mutableAttrs: ["broken"] });
  assert.throws(() => listed.createView(undefined as never), /not loaded/);
});

Deno.test("a frozen pipeline serves requests that write", async () => {
  const base = new Greedy();
  Object.freeze(base.components);
  Object.freeze(base.nested);
  Object.freeze(base);
  const scoped = new RequestScopedPipeline(base);
  const { view, steps } = await scoped.generate({ prompt: "abc", numInferenceSteps: 2 });
  assert.equal(steps, 2);
  assert.equal(view.lastSeed, 3);
  assert.equal(base.lastSeed, 0);
  assert.equal(base.nested.deep.list.length, 1);
});

Deno.test("each request has its own scheduler, wrapped or not", () => {
  const base = new Greedy();
  const request = { prompt: "", numInferenceSteps: 7 };
  const wrapped = new RequestScopedPipeline(base).createView(request).scheduler;
  assert.ok(wrapped instanceof BaseAsyncScheduler);
  assert.equal(wrapped.timesteps.length, 7);
  const plain = new RequestScopedPipeline(base, { wrapScheduler: false }).createView(request);
  assert.ok(plain.scheduler instanceof FlowMatchEulerDiscreteScheduler);
  assert.notEqual(plain.scheduler, base.scheduler);
  assert.equal(base.scheduler.numInferenceSteps, undefined);
  const sigmas = new RequestScopedPipeline(base).createView({ ...request, sigmas: [1, 0.5] });
  assert.deepEqual([...sigmas.scheduler.sigmas], [1, 0.75, 0]);

  const ready = new BaseAsyncScheduler(new FlowMatchEulerDiscreteScheduler());
  const twice = { scheduler: ready, generate: () => 0 };
  const view = new RequestScopedPipeline(twice).createView(undefined as never);
  assert.ok(view.scheduler instanceof BaseAsyncScheduler && view.scheduler !== ready);
  assert.ok(!((view.scheduler.scheduler as object) instanceof BaseAsyncScheduler));

  const dynamic = {
    scheduler: new FlowMatchEulerDiscreteScheduler({ use_dynamic_shifting: true }),
    generate: (_: Request & { mu?: number }) => 0,
  };
  const scoped = new RequestScopedPipeline(dynamic);
  assert.equal(scoped.createView(request).scheduler.numInferenceSteps, undefined);
  assert.equal(scoped.createView({ ...request, mu: 1 }).scheduler.numInferenceSteps, 7);
  const without = { scheduler: null, generate: () => 0 };
  assert.equal(new RequestScopedPipeline(without).createView(undefined as never).scheduler, null);
});

Deno.test("a scheduler that cannot be cloned fails the request; nothing is shared instead", async () => {
  let ran = 0;
  const base = {
    scheduler: { timesteps: [1], lock: new WeakMap(), setTimesteps() {} },
    generate: () => ++ran,
  };
  const scoped = new RequestScopedPipeline(base);
  await assert.rejects(scoped.generate(undefined as never), /cannot be cloned.*lock is a WeakMap/);
  assert.equal(ran, 0);
});

Deno.test("a wrong schedule is an invalid request", async () => {
  const scoped = new RequestScopedPipeline(new Greedy());
  for (
    const [request, param] of [
      [{ sigmas: [] }, "sigmas"],
      [{ sigmas: [NaN] }, "sigmas"],
      [{ numInferenceSteps: 1.5 }, "num_inference_steps"],
      [{ timesteps: "no" }, "timesteps"],
    ] as const
  ) {
    await assert.rejects(
      scoped.generate({ prompt: "", ...request } as never),
      (error) => error instanceof InvalidRequestError && error.param === param,
    );
  }
});

Deno.test("tokenizers go through the lock, wherever they are found", async () => {
  const shared = new SlowTokenizer();
  const literal = { modelMaxLength: 4, encode: async (text: string) => await shared.encode(text) };
  const base = {
    tokenizers: { one: shared, two: literal },
    tokenizer_2: literal,
    components: new Map<string, unknown>([["tokenizer", shared], ["vae", { vocab: 1 }]]),
    textEncoder: { vocabSize: 9, encode: (text: string) => text },
    async generate(text: string): Promise<number[][]> {
      const inMap = this.components.get("tokenizer") as SlowTokenizer;
      assert.equal(this.textEncoder.encode("now"), "now");
      return await Promise.all([
        this.tokenizers.one.encode(text),
        this.tokenizers.two.encode(text),
        this.tokenizer_2.encode(text),
        inMap.encode(text),
      ]);
    },
  };
  const before = [base.tokenizers.one, base.tokenizers.two, base.components.get("tokenizer")];
  const tokenizerLock = new TokenizerLock();
  const scoped = new RequestScopedPipeline(base, { tokenizerLock });
  const other = new RequestScopedPipeline({ ...base }, { tokenizerLock });
  const all = await Promise.all([
    scoped.generate("a"),
    scoped.generate("bc"),
    other.generate("d"),
  ]);
  assert.deepEqual(all[1], new Array(4).fill([98, 99]));
  assert.equal(shared.most, 1);
  assert.deepEqual(
    [base.tokenizers.one, base.tokenizers.two, base.components.get("tokenizer")],
    before,
  );
  assert.equal(before[0], shared);
});

Deno.test("an abort frees a request that waits for the tokenizer", async () => {
  const base = new Greedy();
  const lock = new TokenizerLock();
  const scoped = new RequestScopedPipeline(base, { tokenizerLock: lock });
  let release = () => {};
  const held = lock.run(() => new Promise<void>((resolve) => release = resolve));
  const abort = new AbortController();
  const waiting = scoped.generate({ prompt: "waits" }, { signal: abort.signal });
  const next = scoped.generate({ prompt: "next" });
  await pause(1);
  abort.abort(new Error("gone"));
  await assert.rejects(waiting, /gone/);
  release();
  await held;
  assert.equal((await next).steps, 3);
});

Deno.test("misuse of the constructor is refused", () => {
  assert.throws(() => new RequestScopedPipeline({} as never), /needs a pipeline with a generate/);
  assert.throws(() => new RequestScopedPipeline(null as never), /needs a pipeline with a generate/);
  const options = { tensorNumelThreshold: -1 };
  assert.throws(() => new RequestScopedPipeline(new Greedy(), options), /must not be negative/);
});
