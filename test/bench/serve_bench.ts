/**
 * What concurrency buys and costs on this adapter: `deno task bench:serve`. One process, one engine,
 * ratios first; on a software adapter the times themselves say nothing about GPUs.
 *
 *   --model DIR       model directory (fixtures/sd35-tiny)
 *   --size N          height and width in pixels (128)
 *   --steps N         steps of each request (4)
 *   --requests N      requests for each load of the latency table (100)
 *   --max-batch N     most images in one step (default: found by measuring)
 *   --encode-ahead    encodes a step while the one before runs; --no-encode-ahead: between steps
 *                     (default: by the adapter)
 *   --json FILE       writes the numbers, too
 */
import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import { prepareAdapter } from "../../adapter.ts";
import { openGpu } from "../../src/gpu/device.ts";
import { openEngine } from "../../src/engine/engine.ts";
import type { TurnReport } from "../../src/denoise/batcher.ts";
import type { GenerateRequest } from "../../src/requests/types.ts";
import type { Timings } from "../../src/engine/types.ts";
import { TorchCpuGenerator } from "../../src/random/torch_cpu.ts";
import { directorySource } from "../../src/weights/deno_source.ts";

const { values: flags } = parseArgs({
  options: {
    model: {
      type: "string",
      default: fileURLToPath(new URL("../../fixtures/sd35-tiny", import.meta.url)),
    },
    size: { type: "string", default: "128" },
    steps: { type: "string", default: "4" },
    requests: { type: "string", default: "100" },
    "max-batch": { type: "string" },
    "encode-ahead": { type: "boolean" },
    json: { type: "string" },
  },
  allowNegative: true,
});
const [size, steps, perLoad] = [flags.size, flags.steps, flags.requests].map(Number) as [
  number,
  number,
  number,
];
const concurrencies = [1, 2, 4, 8, 16];
const loads = [0.5, 0.8, 1, 1.5];
const rounds = 3;
/** Steps of one batch size that are worth a line. */
const fewest = 3;
const crowd = 64;
/** Steps of each request of the crowd: its memory is looked at, not its time. */
const crowdSteps = 2;

const { vectorBits } = prepareAdapter();
const gpu = await openGpu();
const turns: TurnReport[] = [];
const engine = await openEngine(directorySource(flags.model), {
  gpu,
  vectorBits,
  maxWaiting: 1024,
  // Every prompt is new: embeddings kept for later would only blur the peak.
  promptCacheBytes: 2 ** 20,
  onTurn: (turn) => turns.push(turn),
  recordAhead: flags["encode-ahead"],
  ...(flags["max-batch"] !== undefined && { maxBatch: Number(flags["max-batch"]) }),
});
const status = engine.status();

let made = 0;
const request = (numInferenceSteps = steps): GenerateRequest => ({
  prompt: `a red heart, number ${made}`,
  seed: made++,
  ...{ height: size, width: size, guidanceScale: 4, numInferenceSteps },
});

const print = (line = "") => {
  // deno-lint-ignore no-console
  console.log(line);
};
const seconds = (value: number) => value.toFixed(value < 10 ? 3 : 1);
const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** Seconds that `count` requests at once take, with new prompts, and what each of them says. */
async function together(count: number): Promise<{ total: number; timings: Timings[] }> {
  const started = performance.now();
  const results = await Promise.all(
    Array.from({ length: count }, () => engine.generate(request())),
  );
  const total = (performance.now() - started) / 1000;
  return { total, timings: results.map(({ timings }) => timings) };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

async function curve() {
  // Compiles the kernels and lets the engine find its batch.
  for (const count of [1, 16, 16, 16]) await together(count);
  const points = concurrencies.map((concurrency) => ({
    concurrency,
    requestsPerSecond: 0,
    latency: { encode: 0, denoise: 0, decode: 0 },
  }));
  // In turn, and the best round counts: other work on the machine only slows things down.
  for (let round = 0; round < rounds; round++) {
    for (const point of points) {
      const { total, timings } = await together(point.concurrency);
      const requestsPerSecond = point.concurrency / total;
      if (requestsPerSecond <= point.requestsPerSecond) continue;
      const part = (name: "encode" | "denoise" | "decode") => mean(timings.map((t) => t[name]));
      const latency = { encode: part("encode"), denoise: part("denoise"), decode: part("decode") };
      Object.assign(point, { requestsPerSecond, latency });
    }
  }
  print("## Throughput, and what a request's time is spent in (waits for others included)");
  print("concurrent  requests/s  over one at a time  encode s  denoise s  decode s");
  for (const { concurrency, requestsPerSecond, latency } of points) {
    const gain = requestsPerSecond / points[0]!.requestsPerSecond;
    print(
      `${`${concurrency}`.padStart(10)}${seconds(requestsPerSecond).padStart(12)}` +
        `${gain.toFixed(2).padStart(20)}${seconds(latency.encode).padStart(10)}` +
        `${seconds(latency.denoise).padStart(11)}${seconds(latency.decode).padStart(10)}`,
    );
  }
  return points;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

/** Steps by batch size, from the search for the best one on. */
function stepTable() {
  const rows = [...new Set(turns.map(({ images }) => images))].sort((a, b) => a - b).flatMap(
    (images) => {
      // Neighbours are timed together: some runtimes report two steps in flight at once.
      const pairs = turns.flatMap((turn, i) => {
        const before = turns[i - 1];
        const alike = before?.images === images && turn.images === images;
        return alike ? [{ ...turn, step: (turn.step + before.step) / 2 }] : [];
      });
      if (pairs.length < fewest) return [];
      const step = Math.min(...pairs.map((pair) => pair.step));
      const host = median(pairs.map((pair) => pair.host));
      const hostShare = median(pairs.map((pair) => pair.host / pair.step));
      const exposedShare = median(pairs.map((pair) => pair.exposed / pair.step));
      return [{
        ...{ images, rows: pairs[0]!.rows, count: pairs.length },
        ...{ step, host, hostShare, exposedShare },
      }];
    },
  );
  print();
  print("## Step time against batch (the best step, medians of the rest)");
  print("images  rows  steps  step s  s/row   host s  host share  not beside a step");
  for (const { images, rows: r, count, step, host, hostShare, exposedShare } of rows) {
    print(
      `${`${images}`.padStart(7)}${`${r}`.padStart(6)}${`${count}`.padStart(7)}` +
        `${seconds(step).padStart(8)}${seconds(step / r).padStart(7)}${
          host.toFixed(4).padStart(9)
        }` +
        `${percent(hostShare).padStart(12)}${percent(exposedShare).padStart(19)}`,
    );
  }
  return rows;
}

async function memory() {
  gpu.ledger.resetPeak();
  const started = performance.now();
  const ends = await Promise.allSettled(
    Array.from({ length: crowd }, () => engine.generate(request(crowdSteps))),
  );
  const succeeded = ends.filter(({ status }) => status === "fulfilled").length;
  const { weights, arena } = engine.status().memory;
  const { share, arena: planned } = status.defaultRequest;
  const expected = weights + arena + crowd * share;
  const peak = gpu.ledger.peak;
  print();
  print(`## ${crowd} requests at once`);
  print(
    `${succeeded} of ${crowd} succeeded in ${seconds((performance.now() - started) / 1000)} s`,
  );
  print(
    `peak ${mebibytes(peak)}; weights ${mebibytes(weights)} + arena ${mebibytes(arena)} + ` +
      `${crowd} x ${mebibytes(share)} = ${mebibytes(expected)}: ${
        (100 * (peak / expected - 1)).toFixed(1)
      } % apart`,
  );
  print(`the arena may grow to ${mebibytes(planned)} where larger batches pay`);
  return { crowd, succeeded, peak, weights, arena, share, expected, planned };
}

/** Requests that arrive at random, `rate` a second in the mean, and how long each took. */
async function poisson(rate: number): Promise<number[]> {
  const random = new TorchCpuGenerator(17).randn(2 * perLoad);
  // Half the square of two normal values is exponentially distributed.
  const gaps = Array.from(
    { length: perLoad },
    (_, i) => (random[2 * i]! ** 2 + random[2 * i + 1]! ** 2) / 2,
  );
  // Chance must not make these few arrivals faster or slower than `rate`.
  const scale = 1000 / rate / mean(gaps);
  const latencies: number[] = [];
  const arrivals: Promise<void>[] = [];
  // Counted from when each was to arrive: a wait of the engine also holds up this thread's timers.
  let arrival = performance.now();
  for (const gap of gaps) {
    arrival += scale * gap;
    const wait = arrival - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    const arrived = arrival;
    arrivals.push(
      engine.generate(request()).then(() => {
        latencies.push((performance.now() - arrived) / 1000);
      }),
    );
  }
  await Promise.all(arrivals);
  return latencies.sort((a, b) => a - b);
}

async function latencies(capacity: number) {
  print();
  print(
    `## Latency under Poisson arrivals, ${perLoad} requests each, capacity ${seconds(capacity)}/s`,
  );
  print("load    p50 s   p95 s   p99 s");
  const rows = [];
  for (const load of loads) {
    const sorted = await poisson(load * capacity);
    const at = (p: number) => sorted[Math.ceil(p * sorted.length) - 1]!;
    const row = { load, p50: at(0.5), p95: at(0.95), p99: at(0.99) };
    rows.push(row);
    print(
      `${row.load.toFixed(1).padStart(4)}` +
        [row.p50, row.p95, row.p99].map((value) => seconds(value).padStart(8)).join(""),
    );
  }
  return rows;
}

const { adapter, model } = status;
const machine = {
  date: new Date().toISOString(),
  adapter: `${adapter.description} (${adapter.vendor} ${adapter.architecture})`,
  vectorBits: adapter.vectorBits,
  runtime: `Deno ${Deno.version.deno}`,
  processors: navigator.hardwareConcurrency,
  model: model.name,
  size,
  steps,
};
print(`${machine.adapter}, ${machine.processors} processors, ${machine.runtime}, ${machine.date}`);
print(`${model.name}, ${size}x${size}, ${steps} steps, guidance 4`);
print();
const throughput = await curve();
const step = stepTable();
const crowded = await memory();
const capacity = Math.max(...throughput.map(({ requestsPerSecond }) => requestsPerSecond));
const latency = await latencies(capacity);
if (flags.json) {
  await Deno.writeTextFile(
    flags.json,
    JSON.stringify({ machine, throughput, step, memory: crowded, latency }, null, 2) + "\n",
  );
}
await engine.close();
