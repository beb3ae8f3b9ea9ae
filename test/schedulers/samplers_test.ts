/** Every sampler against diffusers' own class, on fixed outputs in place of the network's. */
import assert from "node:assert/strict";
import { createScheduler } from "../../src/schedulers/mod.ts";
import { mostSlots } from "../../src/ops/guided_combination.ts";
import { combine, isPlain, keptBy } from "../../src/schedulers/step.ts";
import golden from "../../fixtures/golden/samplers.json" with { type: "json" };
import { readGolden } from "../tokenizers/files.ts";

const tensors = readGolden("samplers");
const rows = (key: string): number[][] => {
  const { shape, data } = tensors[key]!;
  const size = data.length / shape[0]!;
  return Array.from({ length: shape[0]! }, (_, i) => data.slice(i * size, (i + 1) * size));
};
const [velocities, noises] = [rows("velocity"), rows("noise")];
const start = tensors.sample!.data;

/** Largest difference, relative to the largest expected value. */
function assertClose(actual: ArrayLike<number>, expected: readonly number[], label: string) {
  assert.equal(actual.length, expected.length, label);
  const scale = Math.max(1, ...expected.map(Math.abs));
  for (const [i, value] of expected.entries()) {
    const difference = Math.abs(actual[i]! - value) / scale;
    assert.ok(difference <= 3e-6, `${label} [${i}]: ${actual[i]} is not ${value}`);
  }
}

const schedulerOf = (unit: { class: string; config: object }) =>
  createScheduler({ _class_name: unit.class, ...unit.config });

Deno.test("schedules and steps of every sampler equal diffusers'", () => {
  assert.ok(golden.unit.length >= 27);
  for (const unit of golden.unit) {
    const scheduler = schedulerOf(unit);
    scheduler.setTimesteps({ numInferenceSteps: unit.num_inference_steps });
    assertClose(scheduler.sigmas, tensors[`${unit.key}.sigmas`]!.data, `${unit.key} sigmas`);
    const timesteps = tensors[`${unit.key}.timesteps`]!.data;
    assertClose(scheduler.timesteps, timesteps, `${unit.key} timesteps`);
    assert.equal(scheduler.numInferenceSteps, unit.num_inference_steps);
    let sample: ArrayLike<number> = start;
    for (const [i, expected] of rows(`${unit.key}.samples`).entries()) {
      const noise = unit.noise_draws > 0 ? noises[i] : undefined;
      sample = scheduler.step(velocities[i]!, scheduler.timesteps[i]!, sample, { noise });
      assertClose(sample, expected, `${unit.key} step ${i}`);
    }
    assert.equal(scheduler.stepIndex, timesteps.length);
  }
});

Deno.test("the steps as data make the same samples, and no scheduler is changed by them", () => {
  for (const unit of golden.unit) {
    const scheduler = schedulerOf(unit);
    const before = structuredClone({ ...scheduler });
    const steps = scheduler.schedule({ numInferenceSteps: unit.num_inference_steps });
    assert.deepEqual({ ...scheduler }, before, unit.key);
    assert.ok(keptBy(steps) <= mostSlots);
    let sample: ArrayLike<number> = start;
    // What was never kept must never be read.
    let kept: ArrayLike<number>[] = Array.from({ length: mostSlots }, () => start.map(() => NaN));
    for (const [i, step] of steps.entries()) {
      const now = { sample, velocity: velocities[i]!, noise: noises[i]!, kept };
      const keep = step.keep?.map((sum) => combine(sum, now)) ?? [];
      kept = [...keep, ...kept.slice(keep.length)];
      sample = combine(step.next, now);
    }
    assertClose(sample, rows(`${unit.key}.samples`).at(-1)!, unit.key);
    assert.ok(isPlain(steps.at(-1)!), `${unit.key} ends with a step of Euler's`);
  }
});

Deno.test("a run that begins midway has no history before it", () => {
  const flow = { use_flow_sigmas: true, prediction_type: "flow_prediction", flow_shift: 3 };
  for (const solver_order of [2, 3]) {
    const config = { ...flow, solver_order, lower_order_final: false };
    const scheduler = schedulerOf({ class: "DPMSolverMultistepScheduler", config });
    const options = { numInferenceSteps: 6 };
    const steps = scheduler.schedule({ ...options, begin: 2 });
    assert.equal(steps.length, 4);
    assert.equal(steps[0]!.next.kept, undefined);
    assert.equal(steps[1]!.next.kept!.length, 1);
    assert.equal(steps[2]!.next.kept!.length, solver_order - 1);
    scheduler.setTimesteps(options);
    scheduler.setBeginIndex(2);
    let sample: ArrayLike<number> = start;
    let [x, kept]: [ArrayLike<number>, ArrayLike<number>[]] = [start, []];
    for (const [i, step] of steps.entries()) {
      const velocity = velocities[i]!;
      sample = scheduler.step(velocity, 0, sample);
      const now = { sample: x, velocity, kept };
      [x, kept] = [combine(step.next, now), step.keep?.map((sum) => combine(sum, now)) ?? []];
      assert.deepEqual(sample, x);
    }
  }
  const heun = schedulerOf({ class: "FlowMatchHeunDiscreteScheduler", config: { shift: 3 } });
  assert.equal(heun.schedule({ numInferenceSteps: 4, begin: 2 }).length, 5);
  assert.throws(() => heun.schedule({ numInferenceSteps: 4, begin: 3 }), /second half of a step/);
  heun.setTimesteps({ numInferenceSteps: 4 });
  // Of the two evaluations at one timestep, the one that begins a step is meant.
  assert.equal(heun.indexForTimestep(heun.timesteps[1]!), 2);
});

Deno.test("a clone in the middle of a run goes on alone", () => {
  for (const unit of golden.unit.filter(({ num_inference_steps: n }) => n === 4)) {
    const scheduler = schedulerOf(unit);
    scheduler.setTimesteps({ numInferenceSteps: 4 });
    const expected = rows(`${unit.key}.samples`);
    const step = (of: typeof scheduler, i: number, sample: ArrayLike<number>) =>
      of.step(velocities[i]!, of.timesteps[i]!, sample, { noise: noises[i] });
    const first = step(scheduler, 0, start);
    const copy = scheduler.clone();
    copy.step(velocities[9]!, 0, first, { noise: noises[9] });
    assertClose(step(scheduler, 1, first), expected[1]!, unit.key);
  }
});

Deno.test("custom sigmas are shifted by every sampler, and dynamic shifting takes mu", () => {
  for (const _class_name of ["FlowMatchHeunDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"]) {
    const steps = createScheduler({ _class_name, shift: 3 }).schedule({ sigmas: [1, 0.5] });
    assert.deepEqual(steps.map(({ sigma }) => sigma).at(-1), 0.75);
  }
  const flow = { use_flow_sigmas: true, prediction_type: "flow_prediction", solver_order: 3 };
  const dpm = createScheduler({ _class_name: "DPMSolverMultistepScheduler", ...flow });
  // From pure noise there is no finite signal-to-noise ratio to start from.
  const steps = dpm.schedule({ sigmas: [1, 0.75, 0.5, 0.25] });
  assert.deepEqual(steps.map(({ timestep }) => timestep), [1000, 750, 500, 250]);
  for (const { next } of steps) {
    assert.ok([next.sample, next.velocity, ...next.kept ?? []].every(Number.isFinite));
  }
  for (const sigmas of [[1, 0.5, 0], [0.5, 0.5], [1.5, 1], [0.2, 0.9]]) {
    assert.throws(() => dpm.schedule({ sigmas }), /must fall/);
  }
  const dynamic = createScheduler({
    ...{ _class_name: "DPMSolverMultistepScheduler", use_dynamic_shifting: true },
    ...flow,
  });
  assert.throws(() => dynamic.schedule({ numInferenceSteps: 2 }), /`mu` must be given/);
  const [first] = dynamic.schedule({ sigmas: [0.5], mu: Math.log(3) });
  assert.ok(Math.abs(first!.sigma - 0.75) < 1e-6);
});

Deno.test("what a sampler cannot do on flow matching is refused by name", () => {
  const flow = { use_flow_sigmas: true, prediction_type: "flow_prediction" };
  const refused: [Record<string, unknown>, RegExp][] = [
    [{}, /"prediction_type" must be "flow_prediction"/],
    [{ ...flow, use_flow_sigmas: false }, /"use_flow_sigmas" must be true/],
    [{ ...flow, solver_order: 4 }, /"solver_order" must be 1 or 2 or 3, not 4/],
    [
      { ...flow, solver_order: 3, algorithm_type: "sde-dpmsolver++" },
      /"solver_order" must be 1 or/,
    ],
    [{ ...flow, use_karras_sigmas: true }, /"use_karras_sigmas" must be false/],
    [{ ...flow, final_sigmas_type: "sigma_min" }, /"final_sigmas_type" must be "zero"/],
    [{ ...flow, eta: 1 }, /does not know "eta"/],
  ];
  for (const [config, message] of refused) {
    assert.throws(() => schedulerOf({ class: "DPMSolverMultistepScheduler", config }), message);
  }
  const full = { beta_start: 0.0001, trained_betas: null, timestep_spacing: "linspace", ...flow };
  schedulerOf({ class: "DPMSolverMultistepScheduler", config: full });
});
