/** An engine that measures when it opens: what it keeps, what it takes, and what stays the same. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { createHash } from "node:crypto";
import { prepareAdapter } from "../../adapter.ts";
import { openGpu } from "../../src/gpu/device.ts";
import type { KernelChooser, Question } from "../../src/gpu/tuning.ts";
import type { TuningStore } from "../../src/gpu/tuning_cache.ts";
import { encodePng } from "../../src/image/png.ts";
import type { TurnReport } from "../../src/denoise/batcher.ts";
import { type EngineOptions, openEngine } from "../../src/engine/engine.ts";
import { MemoryPlanner } from "../../src/engine/memory_planner.ts";
import { describeModel } from "../../src/models/mod.ts";
import { defaultRequestLimits } from "../../src/requests/model_info.ts";
import { resolveRequest } from "../../src/requests/request.ts";
import type { GenerateRequest } from "../../src/requests/types.ts";
import type { GenerateResult } from "../../src/engine/types.ts";
import { directorySource } from "../../src/weights/deno_source.ts";

prepareAdapter();
const source = directorySource(fileURLToPath(new URL("../../fixtures/sd35-tiny", import.meta.url)));
const small = { height: 32, width: 32, maxSequenceLength: 8 };
const request: GenerateRequest = {
  ...small,
  prompt: "a red heart",
  seed: 1,
  guidanceScale: 4,
  numInferenceSteps: 2,
};
const tokens = 4;

function memoryStore(): TuningStore & { text: string | undefined; saves: number } {
  return {
    text: undefined,
    saves: 0,
    load() {
      return Promise.resolve(this.text);
    },
    save(text) {
      this.text = text;
      this.saves++;
      return Promise.resolve();
    },
  };
}

/** Opens an engine that tells what it measured. */
async function open(tuning: EngineOptions["tuning"], options: EngineOptions = {}) {
  const turns: TurnReport[] = [];
  const measured: string[] = [];
  const engine = await openEngine(source, {
    onTurn: (turn) => turns.push(turn),
    tuning: tuning && {
      kernelSeconds: 60,
      batchSeconds: 60,
      request: small,
      onChoice: ({ key }) => measured.push(key),
      ...tuning,
    },
    ...options,
  });
  return { engine, turns, measured };
}

function sha({ images }: GenerateResult): string {
  return images.map((i) => createHash("sha256").update(encodePng(i)).digest("hex")).join();
}

Deno.test("what was measured once is taken at once: a restart measures nothing", async () => {
  const store = memoryStore();
  const first = await open({ store });
  assert.ok(first.turns.length >= 12 && first.turns.every((turn) => turn.tokens === tokens));
  const image = sha(await first.engine.generate(request));
  const before = first.engine.status().tuning!;
  assert.ok(first.measured.length > 5);
  assert.deepEqual(before.kernels.map(({ key }) => key).sort(), first.measured.sort());
  assert.ok(before.kernels.every(({ source }) => source === "measured"));
  const [batch] = before.batches;
  assert.deepEqual([batch!.tokens, batch!.source], [tokens, "measured"]);
  assert.equal(first.engine.status().requests.total, 1, "trials are nobody's requests");
  assert.equal(first.engine.status().memory.requests, 0);
  await first.engine.close();

  const { saves } = store;
  const second = await open({ store });
  assert.deepEqual(second.turns, []);
  assert.equal(sha(await second.engine.generate(request)), image);
  assert.deepEqual(second.measured, []);
  assert.equal(store.saves, saves);
  const after = second.engine.status().tuning!;
  assert.equal(after.seconds, 0);
  assert.deepEqual(after.batches, [{ ...batch!, source: "cached" }]);
  const choices = (report: typeof after) =>
    report.kernels.map(({ key, choice }) => `${key}: ${choice}`).sort();
  assert.deepEqual(choices(after), choices(before));
  assert.ok(after.kernels.every(({ source }) => source === "cached"));
  await second.engine.close();

  // A fixed batch is not measured, and says so.
  const fixed = await open({ store }, { maxBatch: 2 });
  assert.deepEqual(fixed.turns, []);
  await fixed.engine.generate(request);
  assert.deepEqual(fixed.engine.status().tuning!.batches, [
    { tokens, images: 2, source: "fixed" },
  ]);
  await fixed.engine.close();
});

Deno.test("no time: nothing is measured or kept, and the first candidates are taken", async () => {
  const store = memoryStore();
  const { engine, turns, measured } = await open({ store, kernelSeconds: 0, batchSeconds: 0 });
  await engine.generate(request);
  assert.equal(turns.length, 2);
  assert.deepEqual(measured, []);
  const { kernels, batches } = engine.status().tuning!;
  assert.ok(kernels.length > 5 && kernels.every(({ source }) => source === "default"));
  assert.equal(batches[0]!.source, "measuring");
  assert.equal(store.saves, 0);
  await engine.close();
  const plain = await open(undefined);
  assert.equal(plain.engine.status().tuning, undefined);
  await plain.engine.close();
});

Deno.test("measuring stays within the memory budget", async () => {
  const gpu = await openGpu();
  const model = await describeModel(source);
  const planner = await MemoryPlanner.open(model, gpu);
  const resolved = resolveRequest({ ...request, prompt: "" }, {
    model: model.info,
    limits: defaultRequestLimits,
  });
  const plan = await planner.plan(resolved, { maxBatch: 4 });
  const memoryBudget = planner.baseWith(plan) + 4.5 * plan.share;
  const { engine, turns } = await open({ store: memoryStore() }, { gpu, memoryBudget });
  assert.ok(turns.length > 0 && Math.max(...turns.map(({ images }) => images)) <= 4);
  assert.ok(gpu.ledger.peak <= memoryBudget, `${gpu.ledger.peak} of ${memoryBudget}`);
  assert.equal(gpu.ledger.bytes("requests"), 0);
  await engine.close();
});

/** Answers every question with its last candidate. */
class Last implements KernelChooser {
  readonly keys = new Set<string>();
  known({ key, candidates }: Question) {
    this.keys.add(key);
    return candidates.at(-1)!.name;
  }
  keep() {}
  answer() {
    return Promise.resolve(false);
  }
}

Deno.test("images of other kernels than the usual are the same alone and in a batch, too", async () => {
  const gpu = await openGpu();
  const last = gpu.tuner = new Last();
  const { engine, turns } = await open(undefined, { gpu, maxBatch: 3 });
  const list = [1, 2, 3].map((seed) => ({ ...request, seed }));
  const alone: string[] = [];
  for (const each of list) alone.push(sha(await engine.generate(each)));
  const together = await Promise.all(list.map((each) => engine.generate(each)));
  assert.deepEqual(together.map(sha), alone);
  assert.ok(turns.some(({ images }) => images === 3));
  assert.ok(last.keys.size > 5);
  await engine.close();
});
