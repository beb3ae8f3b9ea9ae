/** The tuner on a real device: it times real kernels, and leaves nothing behind. */
import assert from "node:assert/strict";
import { DeviceBench } from "../../src/gpu/device_bench.ts";
import { dryGpu } from "../../src/gpu/dry_device.ts";
import { defineKernel } from "../../src/gpu/kernel.ts";
import type { Recorder } from "../../src/gpu/recorder.ts";
import { Tuner } from "../../src/gpu/tuner.ts";
import type { Candidate } from "../../src/gpu/tuning.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";
import { TuningCache } from "../../src/gpu/tuning_cache.ts";
import { gpu } from "../gpu.ts";

/** Adds 1 to every value, `STEPS` times in a row. */
const kernel = defineKernel(
  "count",
  `
const STEPS = 1u;
@group(0) @binding(0) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(16)
fn main(@builtin(global_invocation_id) id: vec3u) {
  var sum = y[id.x];
  for (var i = 0u; i < STEPS; i++) { sum = fract(sum * 1.5) + f32(i); }
  y[id.x] = sum;
}
`,
);
const broken = defineKernel("broken", `${kernel.source}\nfn wrong() -> u32 { return 1.5f; }`);

const forms = {
  slow: { kernel, steps: 2000 },
  fast: { kernel, steps: 2 },
  broken: { kernel: broken, steps: 1 },
};
type Form = keyof typeof forms;

function count(rec: Recorder, y: Tensor, form: Form): void {
  const { kernel, steps } = forms[form];
  rec.dispatch({
    label: "count",
    kernel,
    specialise: { const: { STEPS: steps } },
    bindings: { y },
    grid: [64, 1, 1],
  });
}

/** Records like a network does: the op asks, and takes what it is told. */
function record(rec: Recorder, names: readonly Form[]): Form {
  const y = rec.alloc([1024], "y");
  const form = rec.choose<Candidate & { name: Form }>({
    key: `count ${names}`,
    work: 1024,
    candidates: names.map((name) => ({
      name,
      kernel: forms[name].kernel,
      specialise: { const: { STEPS: forms[name].steps } },
    })),
    record: (trial, { name }) => count(trial, trial.standIn(y), name),
  }).name;
  count(rec, y, form);
  return form;
}

async function tuned(): Promise<Tuner> {
  const cache = await TuningCache.open("test");
  return gpu.tuner = new Tuner({ bench: new DeviceBench(gpu), cache, seconds: 60 });
}

Deno.test("a recording is made again with the fastest kernel, and the trial's memory is freed", async () => {
  const tuner = await tuned();
  const first = gpu.record("first");
  assert.equal(record(first, ["slow", "fast", "broken"]), "slow");
  const { count, total } = gpu.ledger;
  assert.equal(await first.decide(), true);
  const second = gpu.record("second");
  assert.equal(record(second, ["slow", "fast", "broken"]), "fast");
  assert.equal(await second.decide(), false);
  const program = await second.finish();
  await gpu.run(program);
  await gpu.idle();
  const { milliseconds } = tuner.choices[0]!;
  assert.deepEqual(Object.keys(milliseconds), ["slow", "fast"]);
  assert.ok(milliseconds.slow! > 2 * milliseconds.fast!, JSON.stringify(milliseconds));
  program.dispose();
  // The arena is what the program itself needs.
  assert.ok(gpu.ledger.count - count <= 1 && gpu.ledger.total - total <= 4096);
});

Deno.test("a wrong kernel of the recording itself is not mistaken for a candidate's", async () => {
  await tuned();
  const rec = gpu.record("wrong");
  record(rec, ["slow", "fast"]);
  count(rec, rec.alloc([1024], "other"), "broken");
  await assert.rejects(rec.decide(), /broken/);
});

Deno.test("a program that did not wait keeps the first candidate for good", async () => {
  const tuner = await tuned();
  const hasty = gpu.record("hasty");
  assert.equal(record(hasty, ["slow", "fast"]), "slow");
  (await hasty.finish()).dispose();
  const later = gpu.record("later");
  assert.equal(record(later, ["slow", "fast"]), "slow");
  assert.equal(await later.decide(), false);
  assert.deepEqual(tuner.choices.map(({ source }) => source), ["default"]);
});

Deno.test("a device that memory is planned on knows the choices and makes none", async () => {
  const tuner = await tuned();
  const dry = dryGpu(gpu);
  const names = ["slow", "fast"] as const;
  const before = dry.record("before");
  assert.equal(record(before, names), "slow");
  assert.equal(await before.decide(), false);
  (await before.finish()).dispose();
  assert.deepEqual(tuner.choices, []);
  const rec = gpu.record("real");
  record(rec, names);
  await rec.decide();
  assert.equal(record(dry.record("after"), names), "fast");
});
