/** The engine's memory: as planned, given back whole, within its budget; the model never changes. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { createHash } from "node:crypto";
import { prepareAdapter } from "../../adapter.ts";
import { type Gpu, openGpu } from "../../src/gpu/device.ts";
import { openEngine } from "../../src/engine/engine.ts";
import { BusyError, InvalidRequestError } from "../../src/requests/errors.ts";
import type { EngineOptions } from "../../src/engine/engine.ts";
import { MemoryPlanner } from "../../src/engine/memory_planner.ts";
import { describeModel } from "../../src/models/mod.ts";
import { defaultRequestLimits } from "../../src/requests/model_info.ts";
import { resolveRequest } from "../../src/requests/request.ts";
import type { Engine, MemoryReport, ProgressEvent } from "../../src/engine/types.ts";
import type { GenerateRequest } from "../../src/requests/types.ts";
import { directorySource } from "../../src/weights/deno_source.ts";

prepareAdapter();
const source = directorySource(fileURLToPath(new URL("../../fixtures/sd35-tiny", import.meta.url)));
const small = { height: 32, width: 32, maxSequenceLength: 8, numInferenceSteps: 2 };

async function open(options: EngineOptions = {}) {
  const gpu = options.gpu ?? await openGpu();
  const weights = new Set<GPUBuffer>();
  const create = gpu.createBuffer;
  gpu.createBuffer = (request) => {
    const buffer = create.call(gpu, request);
    if (request.owner === "weights") weights.add(buffer);
    return buffer;
  };
  const engine = await openEngine(source, { ...options, gpu });
  return { gpu, engine, weights };
}

const request = (seed: number, changes: Partial<GenerateRequest> = {}): GenerateRequest => ({
  ...small,
  prompt: `prompt ${seed}`,
  seed,
  guidanceScale: 4,
  ...changes,
});

function used({ weights, arena, requests, cache }: MemoryReport): number {
  return weights + arena + requests + cache;
}

/** SHA-256 of every weight buffer's bytes. */
async function fingerprint(gpu: Gpu, weights: ReadonlySet<GPUBuffer>): Promise<string[]> {
  const hashes: string[] = [];
  for (const buffer of weights) {
    const tensor = { label: buffer.label, shape: [buffer.size / 4], dtype: "u32" as const };
    const bytes = await gpu.readBytes({
      ...tensor,
      storage: { buffer },
      byteOffset: 0,
      byteLength: buffer.size,
    });
    hashes.push(createHash("sha256").update(new Uint8Array(bytes)).digest("hex"));
  }
  return hashes;
}

Deno.test("fifty requests, cancelled and failed ones among them, leave nothing behind", async () => {
  const { gpu, engine, weights } = await open({ promptCacheBytes: 0, maxBatch: 4 });
  const before = await fingerprint(gpu, weights);
  const burst = (first: number) =>
    Promise.allSettled(Array.from({ length: 26 }, (_, i) => {
      const stop = new AbortController();
      const options = {
        signal: stop.signal,
        previewEvery: i % 3,
        onProgress: (event: ProgressEvent) => {
          if (event.type !== "progress") return;
          if (i % 5 === 1) stop.abort(new Error("gave up"));
          if (i % 5 === 3 && event.step === 2) throw new Error("listener failed");
        },
      };
      if (i % 13 === 12) stop.abort(new Error("gave up early"));
      const changes = {
        numImagesPerPrompt: 1 + i % 2,
        negativePrompt: i % 4 ? "" : "blue",
        ...(i % 7 === 6 && { height: 48 }),
        ...(i === 20 && { width: 33 }),
      };
      return engine.generate(request(first + i, changes), options);
    }));
  const warm = await burst(0);
  const [count, bytes] = [gpu.ledger.count, gpu.ledger.total];
  const ends = await burst(100);
  for (const [i, end] of ends.entries()) {
    const fails = i % 5 === 1 || i % 5 === 3 || i % 13 === 12 || i === 20;
    assert.equal(end.status, fails ? "rejected" : "fulfilled", `request ${i}`);
    assert.equal(warm[i]!.status, end.status);
  }
  assert.equal(gpu.ledger.bytes("requests"), 0);
  assert.equal(gpu.ledger.bytes("cache"), 0);
  // Programs of batch shapes that the first burst happened not to make may have come.
  assert.ok(gpu.ledger.count - count <= 4 && gpu.ledger.total - bytes <= 4 * 2 ** 16);
  // One of each burst, of a width that is refused before it runs, is not counted.
  assert.deepEqual(engine.status().requests, { total: 50, active: 0, waiting: 0 });
  const after = await fingerprint(gpu, weights);
  // Tables that are made at first use may have come.
  assert.deepEqual(after.slice(0, before.length), before, "a request changed the weights");
  await engine.close();
});

Deno.test("a burst takes what was planned for it", async () => {
  const { gpu, engine } = await open({ maxBatch: 4 });
  const { share, arena } = engine.status().defaultRequest;
  const { weights } = engine.status().memory;
  const atDefault = { height: undefined, width: undefined, maxSequenceLength: undefined };
  const shares: number[] = [];
  gpu.ledger.resetPeak();
  const results = await Promise.all(
    Array.from({ length: 8 }, (_, i) =>
      engine.generate(request(i, atDefault), {
        onProgress: () => shares.push(gpu.ledger.bytes("requests") + gpu.ledger.bytes("cache")),
      })),
  );
  assert.equal(results.length, 8);
  const planned = weights + arena + 8 * share;
  const { peak } = gpu.ledger;
  assert.ok(Math.abs(peak / planned - 1) <= 0.05, `peak ${peak}, planned ${planned}`);
  // The empty negative prompt is the cache's own.
  assert.ok(Math.max(...shares) <= 9 * share, `${Math.max(...shares)} of ${share} each`);
  await engine.close();
});

Deno.test("a small budget makes requests wait, then refuses, and is never exceeded", async () => {
  const images = { numImagesPerPrompt: 16, numInferenceSteps: 1, guidanceScale: 1 };
  const wide = (seed: number) => ({ ...request(seed, images), height: 64, width: 64 });
  const model = await describeModel(source);
  const gpu = await openGpu();
  const planner = await MemoryPlanner.open(model, gpu);
  const plan = await planner.plan(
    resolveRequest(wide(0), { model: model.info, limits: defaultRequestLimits }),
    { maxBatch: 4 },
  );
  const { engine } = await open({
    gpu,
    memoryBudget: planner.baseWith(plan) + 1.5 * plan.share,
    maxBatch: 4,
    maxWaiting: 2,
    promptCacheBytes: 2 ** 20,
  });
  let most = 0;
  const positions: number[] = [];
  const stop = new AbortController();
  const first = engine.generate(wide(0), {
    onProgress: () => {
      most = Math.max(most, used(engine.status().memory));
    },
  });
  const run = (seed: number, signal?: AbortSignal) =>
    engine.generate(wide(seed), {
      signal,
      onProgress: (event) => event.type === "queued" && positions.push(event.position),
    });
  const list = [first, run(1, stop.signal), run(2), run(3), run(4), run(5)];
  setTimeout(() => stop.abort(new Error("gave up")), 300);
  const ends = await Promise.allSettled(list);
  const reasons = ends.map((end) => end.status === "rejected" ? end.reason : undefined);
  assert.ok(reasons.some((reason) => reason instanceof BusyError), `${reasons}`);
  assert.ok(ends.some(({ status }) => status === "fulfilled"));
  assert.ok(positions.some((position) => position > 0), "nobody waited");
  assert.ok(most <= engine.status().memory.budget);
  assert.equal(gpu.ledger.bytes("requests"), 0);

  // Refusing what is too large does not spoil the plans of what is not.
  await assert.rejects(
    engine.generate({ ...request(6), height: 512, width: 512 }),
    InvalidRequestError,
  );
  await engine.generate(request(7));
  await engine.close();
});

Deno.test("two requests with everything different, interleaved, are as alone", async () => {
  const { engine } = await open();
  const one = request(1, { guidanceScale: 1, numInferenceSteps: 3 });
  const two = request(2, {
    sigmas: [0.9, 0.5],
    numInferenceSteps: undefined,
    negativePrompt: "no",
  });
  const pixels = async (of: Engine, list: GenerateRequest[]) =>
    (await Promise.all(list.map((each) => of.generate(each)))).map(({ images }) => images);
  const single = [...await pixels(engine, [one]), ...await pixels(engine, [two])];
  assert.deepEqual(await pixels(engine, [one, two]), single);
  const { hits, misses } = engine.status().promptCache;
  assert.deepEqual([hits, misses], [3, 3]);
  await engine.close();
});

Deno.test("closing ends what runs and what comes, and frees the device", async () => {
  const { engine, gpu } = await open();
  const stepped = Promise.withResolvers<void>();
  const running = engine.generate(request(1, { numInferenceSteps: 200 }), {
    onProgress: ({ type }) => type === "progress" && stepped.resolve(),
  });
  const ended = assert.rejects(running, BusyError);
  await stepped.promise;
  await engine.close();
  await ended;
  await assert.rejects(engine.generate(request(2)), BusyError);
  assert.equal(await engine.closed, undefined);
  assert.equal(gpu.ledger.bytes("requests"), 0);
});
