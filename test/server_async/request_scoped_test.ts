import assert from "node:assert/strict";
import { InvalidRequestError } from "../../src/requests/errors.ts";
import { RequestScopedPipeline } from "../../src/server_async/request_scoped.ts";
import { TokenizerLock } from "../../src/server_async/tokenizer_lock.ts";
import { Greedy, pause, type Request, SlowTokenizer } from "./greedy_pipeline.ts";

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
