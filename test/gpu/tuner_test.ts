/** Choices by time: kept, remembered, bounded; with times and a clock that the tests set. */
import assert from "node:assert/strict";
import { DeviceLostError, KernelError } from "../../src/gpu/errors.ts";
import { defineKernel } from "../../src/gpu/kernel.ts";
import { Tuner, type TunerOptions } from "../../src/gpu/tuner.ts";
import type { Question } from "../../src/gpu/tuning.ts";
import type { AdapterSummary, KernelFamily } from "../../src/gpu/adapter.ts";
import { adapterKey, TuningCache, type TuningStore } from "../../src/gpu/tuning_cache.ts";

/** Seconds by candidate; a time of NaN does not compile. */
type Times = Readonly<Record<string, number>>;

function question(key = "linear 8x8 f16 @4", names = ["first", "second", "third"]): Question {
  return {
    key,
    work: 1000,
    candidates: names.map((name) => ({
      name,
      kernel: defineKernel(name, `// ${name}`),
      specialise: { const: { TILE: 4 } },
    })),
    record: () => {},
  };
}

class MemoryStore implements TuningStore {
  loads = 0;
  saves = 0;
  constructor(public text?: string) {}
  load() {
    this.loads++;
    return Promise.resolve(this.text);
  }
  save(text: string) {
    this.saves++;
    this.text = text;
    return Promise.resolve();
  }
}

const adapter = "maker, driver 1";

async function open(
  times: Times,
  { store, key = adapter, ...options }:
    & Partial<TunerOptions>
    & { store?: TuningStore; key?: string } = {},
) {
  let clock = 0;
  const runs: string[] = [];
  const disposed: string[] = [];
  const cache = options.cache ?? await TuningCache.open(key, store);
  const tuner = new Tuner({
    cache,
    seconds: 10,
    now: () => clock,
    bench: {
      open: (_, { name }) => {
        const seconds = times[name]!;
        clock += 1000 * (seconds || 1);
        if (Number.isNaN(seconds)) throw new KernelError(name, "does not compile");
        return Promise.resolve({
          run: () => {
            runs.push(name);
            clock += 1000 * seconds;
            return Promise.resolve(seconds);
          },
          dispose: () => void disposed.push(name),
        });
      },
    },
    ...options,
  });
  return { tuner, cache, runs, disposed };
}

const ask = (...questions: Question[]) => questions.map((q) => ({ question: q, count: 1 }));
const fastSecond = { first: 0.02, second: 0.01, third: 0.03 };

Deno.test("the fastest candidate is taken, and all trials end", async () => {
  const heard: string[] = [];
  const { tuner, runs, disposed } = await open(fastSecond, {
    onChoice: ({ key, choice }) => heard.push(`${key}: ${choice}`),
  });
  assert.equal(tuner.known(question()), undefined);
  assert.equal(await tuner.answer(ask(question())), true);
  assert.equal(tuner.known(question()), "second");
  assert.deepEqual(heard, ["linear 8x8 f16 @4: second"]);
  assert.deepEqual(disposed.sort(), ["first", "second", "third"]);
  const [choice] = tuner.choices;
  assert.deepEqual(choice!.milliseconds, { first: 20, second: 10, third: 30 });
  assert.equal(choice!.source, "measured");
  assert.equal(tuner.speed, 1000 / 0.01);
  // Asked again, nothing runs.
  const before = runs.length;
  assert.equal(await tuner.answer(ask(question())), true);
  assert.equal(runs.length, before);
});

Deno.test("candidates that are clearly slower run once, close ones take turns", async () => {
  const { tuner, runs } = await open({ first: 0.02, second: 0.021, third: 0.09 });
  assert.equal(await tuner.answer(ask(question())), false);
  assert.deepEqual(runs, ["first", "second", "third", "first", "second", "first", "second"]);
});

Deno.test("the first candidate stays where another is hardly faster", async () => {
  const { tuner } = await open({ first: 0.02, second: 0.0198, third: 0.03 });
  assert.equal(await tuner.answer(ask(question())), false);
  assert.equal(tuner.known(question()), "first");
});

Deno.test("a choice is remembered: another process measures nothing", async () => {
  const store = new MemoryStore();
  const { tuner } = await open(fastSecond, { store });
  await tuner.answer(ask(question()));
  assert.equal(store.saves, 1);
  // Now the other would win.
  const later = await open({ first: 0.01, second: 0.02, third: 0.03 }, { store });
  assert.equal(later.tuner.known(question()), "second");
  assert.equal(await later.tuner.answer(ask(question())), true);
  assert.deepEqual(later.runs, []);
  assert.equal(store.saves, 1);
  assert.equal(later.tuner.choices[0]!.source, "cached");
  assert.equal(later.tuner.spent, 0);
});

Deno.test("another adapter, kernel text, specialisation or candidate is measured again", async () => {
  const store = new MemoryStore();
  const { tuner } = await open(fastSecond, { store });
  await tuner.answer(ask(question()));
  const changed = (change: Partial<Question["candidates"][number]>): Question => {
    const { candidates: [first, ...others], ...rest } = question();
    return { ...rest, candidates: [{ ...first!, ...change }, ...others] };
  };
  const later = await open(fastSecond, { store });
  assert.equal(later.tuner.known(changed({ kernel: defineKernel("first", "// new") })), undefined);
  assert.equal(later.tuner.known(changed({ specialise: { const: { TILE: 8 } } })), undefined);
  assert.equal(later.tuner.known(question(undefined, ["first", "second"])), undefined);
  assert.equal(later.tuner.known(question()), "second");
  const other = await open(fastSecond, { store, key: "maker, driver 2" });
  assert.equal(other.tuner.known(question()), undefined);
  await other.tuner.answer(ask(question("conv2d")));
  // One adapter's results do not push out another's.
  const again = await open(fastSecond, { store });
  assert.equal(again.tuner.known(question()), "second");
});

Deno.test("the adapter's key tells drivers and vector widths apart", () => {
  const summary = { vendor: "mesa", architecture: "", description: "LLVM 15", isSoftware: true };
  const key = (adapter: AdapterSummary, family: KernelFamily, bits?: number) =>
    adapterKey({ adapter, family }, bits);
  assert.equal(key(summary, "software", 512), "mesa, LLVM 15, 512 bits");
  assert.equal(key(summary, "gpu", 512), "mesa, LLVM 15, 512 bits, gpu kernels");
  assert.notEqual(
    key(summary, "software"),
    key({ ...summary, description: "LLVM 16" }, "software"),
  );
});

Deno.test("when the time is used up the rest takes first candidates, which is not remembered", async () => {
  const store = new MemoryStore();
  // Compiling takes as long as a run: 2 s for the first one, due in any case, then 1 + 3 s for the
  // others. In the last second a run of the first one begins.
  const { tuner, runs } = await open({ first: 2, second: 1, third: 3 }, { store, seconds: 5 });
  const [small, large, late] = [question("small"), question("large"), question("late")];
  const open3 = [
    { question: small, count: 1 },
    { question: { ...large, work: 10_000 }, count: 1 },
    { question: late, count: 0.5 },
  ];
  assert.equal(await tuner.answer(open3), false);
  assert.deepEqual(runs, ["first"]);
  assert.deepEqual(tuner.choices.map(({ key, source }) => [key, source]), [
    // The most work comes first.
    ["large", "default"],
    ["small", "default"],
    ["late", "default"],
  ]);
  assert.equal(store.saves, 0);
  assert.equal(await tuner.answer(ask(question("later still"))), false);
  assert.equal(runs.length, 1);
  assert.equal(tuner.spent, 6);
});

Deno.test("a candidate is not begun when the time left is less than a compilation took", async () => {
  const { tuner, runs } = await open({ first: 3, second: 0.1 }, { seconds: 2 });
  for (const key of ["one", "other"]) {
    assert.equal(await tuner.answer(ask(question(key, ["first", "second"]))), false);
  }
  assert.deepEqual(runs, []);
  assert.equal(tuner.spent, 0, "what is due in any case does not count");
});

Deno.test("what a program was made with stays, whatever is measured later", async () => {
  const { tuner } = await open(fastSecond);
  tuner.keep(ask(question()));
  assert.equal(await tuner.answer(ask(question())), false);
  assert.equal(tuner.known(question()), "first");
  assert.equal(tuner.choices[0]!.source, "default");
});

Deno.test("a candidate that fails is dropped; a lost device is not a candidate's failure", async () => {
  const { tuner, disposed } = await open({ first: NaN, second: 0.02, third: 0.03 });
  assert.equal(await tuner.answer(ask(question())), true);
  assert.equal(tuner.known(question()), "second");
  assert.equal(disposed.length, 2);
  const none = await open({ first: NaN, second: NaN, third: NaN });
  assert.equal(await none.tuner.answer(ask(question())), false);
  assert.equal(none.tuner.choices[0]!.source, "default");
  const lost = await open({}, {
    bench: { open: () => Promise.reject(new DeviceLostError("gone")) },
  });
  await assert.rejects(lost.tuner.answer(ask(question())), DeviceLostError);
});

Deno.test("concurrent recordings measure a question once", async () => {
  const { tuner, runs } = await open({ first: 0.02, second: 0.01, third: 0.9 });
  const answers = await Promise.all([1, 2, 3].map(() => tuner.answer(ask(question()))));
  assert.deepEqual(answers, [true, true, true]);
  assert.equal(runs.filter((name) => name === "third").length, 1);
});

Deno.test("a store that is corrupt, of another version or out of reach is said and ignored", async () => {
  const broken = { load: () => Promise.reject(new Error("no permission")), save: () => fail() };
  const fail = () => Promise.reject(new Error("read-only"));
  const texts = ["{", "[]", '{"version": 2, "adapters": {}}', '{"version":1,"adapters":{"a":1}}'];
  for (const store of [...texts.map((text) => new MemoryStore(text)), broken]) {
    const { tuner, cache } = await open(fastSecond, { store });
    assert.match(cache.problem ?? "", /^Tuning results are ignored: /);
    assert.equal(await tuner.answer(ask(question())), true);
    if (store instanceof MemoryStore) {
      const later = await open(fastSecond, { store });
      assert.equal(later.cache.problem, undefined, "replaced by a good one");
      assert.equal(later.tuner.known(question()), "second");
    }
  }
  const readOnly = { load: () => Promise.resolve(undefined), save: fail };
  const { tuner, cache } = await open(fastSecond, { store: readOnly });
  assert.equal(await tuner.answer(ask(question())), true);
  assert.equal(cache.problem, "Tuning results cannot be saved: read-only");
});
