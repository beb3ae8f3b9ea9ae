import assert from "node:assert/strict";
import { inspect } from "node:util";
import { BaseAsyncScheduler, retrieveTimesteps } from "../../src/server_async/async_scheduler.ts";
import { cloneScheduler } from "../../src/server_async/clone_scheduler.ts";
import { FlowMatchEulerDiscreteScheduler } from "../../src/schedulers/flow_match_euler.ts";

const template = () => new FlowMatchEulerDiscreteScheduler({ shift: 3 });

/** A scheduler of somebody else: no clone(), state of every kind. */
class Foreign {
  timesteps = Float32Array.of(3, 2, 1);
  history: number[][] = [[1]];
  seen = new Map([["a", new Set([1])]]);
  nested = { when: new Date(5), table: new BigInt64Array([1n]), helper: new Helper() };
  received: unknown;

  setTimesteps(options: { numInferenceSteps?: number | undefined; extra?: unknown }) {
    this.received = options;
    this.timesteps = new Float32Array(options.numInferenceSteps ?? 7).fill(1);
    this.history[0]!.push(this.timesteps.length);
    this.seen.get("a")!.add(2);
    this.nested.helper.count++;
    return this;
  }

  get double() {
    return this.timesteps.length * 2;
  }

  set first(value: number) {
    this.timesteps[0] = value;
  }
}

class Helper {
  count = 0;
}

Deno.test("reads, writes and methods reach the wrapped scheduler", () => {
  const scheduler = new Foreign();
  const wrapped = new BaseAsyncScheduler(scheduler);
  assert.equal(wrapped.timesteps, scheduler.timesteps);
  assert.equal(wrapped.double, 6);
  wrapped.first = 9;
  assert.equal(scheduler.timesteps[0], 9);
  wrapped.history = [];
  assert.deepEqual(scheduler.history, []);
  wrapped.history = [[1]];
  (wrapped as unknown as { added: number }).added = 4;
  assert.equal((scheduler as unknown as { added: number }).added, 4);
  const { setTimesteps } = wrapped;
  assert.equal(setTimesteps, wrapped.setTimesteps);
  assert.equal(setTimesteps({ numInferenceSteps: 4 }), wrapped);
  assert.equal(scheduler.timesteps.length, 4);
  assert.ok("double" in wrapped && "cloneForRequest" in wrapped && !("nothing" in wrapped));
  assert.ok(Object.keys(wrapped).includes("timesteps"));
  assert.ok(Object.hasOwn(wrapped, "history"));
  assert.equal((wrapped as unknown as { nothing: unknown }).nothing, undefined);
  delete (wrapped as unknown as { received: unknown }).received;
  assert.ok(!Object.hasOwn(scheduler, "received"));
});

Deno.test("getters and private fields of the wrapped scheduler work", () => {
  class Private {
    #steps = 0;
    get steps() {
      return this.#steps;
    }
    set steps(value: number) {
      this.#steps = value;
    }
    advance() {
      return ++this.#steps;
    }
  }
  const wrapped = new BaseAsyncScheduler(new Private());
  wrapped.steps = 4;
  assert.equal(wrapped.advance(), 5);
  assert.equal(wrapped.scheduler.steps, 5);
});

Deno.test("wrapping a wrapped scheduler returns it", () => {
  const wrapped = new BaseAsyncScheduler(template());
  assert.equal(new BaseAsyncScheduler(wrapped), wrapped);
  assert.ok(wrapped instanceof BaseAsyncScheduler);
  const other = template();
  wrapped.scheduler = new BaseAsyncScheduler(other);
  assert.equal(wrapped.scheduler, other);
  for (const value of [null, undefined, 3]) {
    assert.throws(() => new BaseAsyncScheduler(value as never), TypeError);
  }
});

Deno.test("cloneForRequest leaves the wrapped scheduler as it was, bit for bit", () => {
  const scheduler = template();
  scheduler.setTimesteps({ numInferenceSteps: 5 });
  scheduler.step([1], scheduler.timesteps[0]!, [1]);
  const { timesteps, sigmas } = scheduler;
  const before = structuredClone({ ...scheduler });
  const wrapped = new BaseAsyncScheduler(scheduler);
  const clone = wrapped.cloneForRequest({ numInferenceSteps: 9 });
  assert.equal(clone.timesteps.length, 9);
  assert.equal(clone.stepIndex, undefined);
  assert.ok(clone instanceof BaseAsyncScheduler);
  clone.sigmas.fill(0.5);
  clone.step([1], clone.timesteps[0]!, [1]);
  clone.setShift(8);
  assert.deepEqual({ ...scheduler }, before);
  assert.equal(scheduler.timesteps, timesteps);
  assert.equal(scheduler.sigmas, sigmas);
  assert.equal(wrapped.stepIndex, 1);
  const custom = wrapped.cloneForRequest({ sigmas: [1, 0.5], numInferenceSteps: undefined });
  assert.deepEqual([...custom.sigmas], [1, 0.75, 0]);
  const dynamic = new FlowMatchEulerDiscreteScheduler({ use_dynamic_shifting: true });
  const shifted = new BaseAsyncScheduler(dynamic).cloneForRequest({ numInferenceSteps: 2, mu: 1 });
  assert.equal(shifted.timesteps.length, 2);
  assert.deepEqual(wrapped.cloneForRequest().timesteps, scheduler.timesteps);
  assert.throws(() => wrapped.cloneForRequest({ numInferenceSteps: 0 }), RangeError);
  assert.deepEqual({ ...scheduler }, before);
});

Deno.test("a scheduler without clone() is copied deeply, keeping types", () => {
  const scheduler = new Foreign();
  const before = structuredClone({ ...scheduler });
  const clone = new BaseAsyncScheduler(scheduler).cloneForRequest({ numInferenceSteps: 4 });
  assert.ok(clone.scheduler instanceof Foreign);
  assert.deepEqual(clone.received, { numInferenceSteps: 4 });
  assert.deepEqual(clone.history, [[1, 4]]);
  assert.deepEqual(clone.seen, new Map([["a", new Set([1, 2])]]));
  assert.ok(clone.nested.when instanceof Date && clone.nested.table instanceof BigInt64Array);
  assert.ok(clone.nested.helper instanceof Helper);
  assert.equal(clone.nested.helper.count, 1);
  assert.deepEqual(structuredClone({ ...scheduler }), before);

  const literal = {
    timesteps: [1, 2],
    setTimesteps({ numInferenceSteps }: { numInferenceSteps?: number | undefined }) {
      this.timesteps = new Array(numInferenceSteps).fill(0);
    },
  };
  const copy = new BaseAsyncScheduler(literal).cloneForRequest({ numInferenceSteps: 3 });
  assert.deepEqual(copy.timesteps, [0, 0, 0]);
  assert.deepEqual(literal.timesteps, [1, 2]);
});

Deno.test("a frozen scheduler gives clones that can change, and cycles are kept", () => {
  class Knot {
    self: Knot = this;
    timesteps = [1];
    setTimesteps() {
      this.timesteps = [2, 3];
    }
  }
  const knot = Object.freeze(new Knot());
  const clone = new BaseAsyncScheduler(knot).cloneForRequest({ numInferenceSteps: 2 });
  assert.deepEqual(clone.timesteps, [2, 3]);
  assert.equal(clone.self, clone.scheduler);
  assert.deepEqual(knot.timesteps, [1]);
});

Deno.test("a scheduler that cannot be copied is refused with the reason", () => {
  const refused: [object, RegExp][] = [
    [{ timesteps: [], pending: Promise.resolve() }, /pending is a Promise/],
    [{ timesteps: [], inner: { map: new WeakMap() } }, /inner\.map is a WeakMap/],
    [
      new class Bound {
        timesteps = [];
        setTimesteps = () => {};
      }(),
      /Bound cannot be cloned.*setTimesteps is a function/,
    ],
    [
      {
        clone() {
          return this;
        },
      },
      /did not return another object/,
    ],
    [
      {
        clone() {
          throw new Error("out of order");
        },
      },
      /out of order/,
    ],
  ];
  for (const [scheduler, message] of refused) {
    assert.throws(() => cloneScheduler(scheduler), message);
    assert.throws(() => new BaseAsyncScheduler(scheduler).cloneForRequest(), message);
  }
});

Deno.test("a wrapper prints what it wraps", () => {
  const wrapped = new BaseAsyncScheduler(template());
  const inner = "FlowMatchEulerDiscreteScheduler(shift: 3, steps: not set, stepIndex: none)";
  assert.equal(String(wrapped), `BaseAsyncScheduler wrapping: ${inner}`);
  assert.equal(Deno.inspect(wrapped), `BaseAsyncScheduler(${inner})`);
  assert.equal(inspect(wrapped), `BaseAsyncScheduler(${inner})`);
});

Deno.test("retrieveTimesteps sets the scheduler it is given", () => {
  const scheduler = template();
  const retrieved = retrieveTimesteps(scheduler, { numInferenceSteps: 4 });
  assert.equal(retrieved.timesteps, scheduler.timesteps);
  assert.deepEqual(Object.keys(retrieved), ["timesteps", "numInferenceSteps"]);
  assert.equal(retrieved.numInferenceSteps, 4);
  const custom = retrieveTimesteps(scheduler, { numInferenceSteps: 4, sigmas: [1, 0.5] });
  assert.equal(custom.numInferenceSteps, 2);
  assert.deepEqual([...scheduler.sigmas], [1, 0.75, 0]);
  assert.equal(retrieveTimesteps(scheduler, { timesteps: [900, 500, 1] }).numInferenceSteps, 3);
  assert.equal(scheduler.timesteps.length, 3);
});

Deno.test("with returnScheduler it works on a clone", () => {
  for (const scheduler of [template(), new BaseAsyncScheduler(template())]) {
    const before = structuredClone([scheduler.timesteps, scheduler.sigmas]);
    const options = { numInferenceSteps: 4, returnScheduler: true } as const;
    const retrieved = retrieveTimesteps(scheduler, options);
    assert.notEqual(retrieved.scheduler, scheduler);
    assert.equal(retrieved.scheduler instanceof BaseAsyncScheduler, "cloneForRequest" in scheduler);
    assert.equal(retrieved.timesteps, retrieved.scheduler.timesteps);
    assert.equal(retrieved.timesteps.length, 4);
    assert.equal(retrieved.numInferenceSteps, 4);
    assert.deepEqual([scheduler.timesteps, scheduler.sigmas], before);
    assert.equal(scheduler.numInferenceSteps, undefined);
  }
});

Deno.test("retrieveTimesteps hands on further options and refuses contradictions", () => {
  const foreign = new Foreign();
  retrieveTimesteps(foreign, { numInferenceSteps: 2, extra: "x" });
  assert.deepEqual(foreign.received, { numInferenceSteps: 2, extra: "x" });
  const scheduler = template();
  const both = { timesteps: [1], sigmas: [1] };
  assert.throws(() => retrieveTimesteps(scheduler, both), /Only one of `timesteps` and `sigmas`/);
  assert.throws(() => retrieveTimesteps(scheduler, {}), /must be given/);
  const unclonable = { timesteps: [], pending: Promise.resolve(), setTimesteps() {} };
  assert.throws(
    () => retrieveTimesteps(unclonable, { numInferenceSteps: 1, returnScheduler: true }),
    /cannot be cloned/,
  );
});
