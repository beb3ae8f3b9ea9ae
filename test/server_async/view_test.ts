/** What a request's view of a pipeline copies, and what it shares. */
import assert from "node:assert/strict";
import { RequestScopedPipeline } from "../../src/server_async/request_scoped.ts";
import { BaseAsyncScheduler } from "../../src/server_async/async_scheduler.ts";
import { FlowMatchEulerDiscreteScheduler } from "../../src/schedulers/flow_match_euler.ts";
import { GPUTensor, Greedy, type Request } from "./greedy_pipeline.ts";

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
