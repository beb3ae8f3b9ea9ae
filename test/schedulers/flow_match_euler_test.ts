import assert from "node:assert/strict";
import { calculateShift, createScheduler } from "../../src/schedulers/mod.ts";
import { FlowMatchEulerDiscreteScheduler } from "../../src/schedulers/flow_match_euler.ts";
import { isPlain } from "../../src/schedulers/step.ts";
import options from "../../fixtures/golden/scheduler_options.json" with { type: "json" };
import index from "../../fixtures/golden/index.json" with { type: "json" };
import { readGolden } from "../tokenizers/files.ts";

/** Largest difference, relative to the largest expected value. */
function assertClose(actual: ArrayLike<number>, expected: ArrayLike<number>, label: string) {
  assert.equal(actual.length, expected.length, label);
  const scale = Math.max(1, ...Array.from(expected, Math.abs));
  for (let i = 0; i < actual.length; i++) {
    const difference = Math.abs(actual[i]! - expected[i]!) / scale;
    assert.ok(difference <= 1e-6, `${label} [${i}]: ${actual[i]} is not ${expected[i]}`);
  }
}

Deno.test("schedules for every option equal diffusers'", () => {
  assert.ok(options.schedules.length >= 50);
  for (const { config, call, timesteps, sigmas } of options.schedules) {
    const scheduler = new FlowMatchEulerDiscreteScheduler(config);
    const { num_inference_steps, ...rest } = call;
    scheduler.setTimesteps({ ...rest, numInferenceSteps: num_inference_steps });
    const label = JSON.stringify({ config, call });
    assertClose(scheduler.sigmas, sigmas, label);
    assertClose(scheduler.timesteps, timesteps, label);
    assert.equal(scheduler.numInferenceSteps, timesteps.length);
  }
});

Deno.test("default and custom schedules equal the golden tensors", () => {
  const golden = readGolden("scheduler");
  for (const { name, shift, ...call } of index.cases.scheduler.cases) {
    const scheduler = new FlowMatchEulerDiscreteScheduler({ shift });
    scheduler.setTimesteps({ numInferenceSteps: call.n, sigmas: call.custom_sigmas });
    assertClose(scheduler.sigmas, golden[`${name}_sigmas`]!.data, name);
    assertClose(scheduler.timesteps, golden[`${name}_timesteps`]!.data, name);
  }
  const fresh = new FlowMatchEulerDiscreteScheduler({ shift: 3 });
  assertClose(fresh.sigmas, golden.constructor_shift3_sigmas!.data, "constructor");
  assertClose(fresh.timesteps, golden.constructor_shift3_timesteps!.data, "constructor");
  assert.equal(fresh.timesteps.length, 1000);
});

Deno.test("Euler steps equal diffusers', by step and by coefficients", () => {
  const { shift, steps, samples, velocities } = options.euler;
  const scheduler = new FlowMatchEulerDiscreteScheduler({ shift });
  scheduler.setTimesteps({ numInferenceSteps: steps });
  const plain = scheduler.schedule({ numInferenceSteps: steps });
  assert.ok(plain.every(isPlain));
  let sample: ArrayLike<number> = samples[0]!;
  for (let i = 0; i < steps; i++) {
    const { sample: a, velocity: b } = plain[i]!.next;
    const linear = Array.from(sample, (x, j) => a * x + b * velocities[i]![j]!);
    sample = scheduler.step(velocities[i]!, scheduler.timesteps[i]!, sample);
    assertClose(sample, samples[i + 1]!, `step ${i}`);
    assertClose(linear, samples[i + 1]!, `coefficients ${i}`);
    assert.equal(scheduler.stepIndex, i + 1);
  }
  assert.throws(() => scheduler.step([0], 0, [0]), /steps 0 to 4, not 5/);
  const fresh = new FlowMatchEulerDiscreteScheduler();
  assert.throws(() => fresh.step([0], fresh.timesteps[0]!, [0]), /setTimesteps must be called/);
});

Deno.test("stochastic sampling predicts the clean sample and adds noise anew", () => {
  const scheduler = new FlowMatchEulerDiscreteScheduler({ shift: 3, stochastic_sampling: true });
  scheduler.setTimesteps({ numInferenceSteps: 4 });
  const [sample, velocity, noise] = [[0.5, -1], [2, 0.25], [0.125, -0.75]];
  scheduler.setBeginIndex(1);
  const next = scheduler.step(velocity, scheduler.timesteps[1]!, sample, { noise });
  const [, sigma, sigmaNext] = scheduler.sigmas as unknown as [number, number, number];
  const expected = sample.map((x, i) =>
    (1 - sigmaNext) * (x - sigma * velocity[i]!) + sigmaNext * noise[i]!
  );
  assertClose(next, expected, "step");
  assert.throws(() => scheduler.step(velocity, 0, sample), /noise/);
  assert.throws(() => scheduler.step(velocity, 0, sample, { noise: [1] }), /different lengths/);
});

Deno.test("the step index follows the timestep or the begin index", () => {
  const scheduler = new FlowMatchEulerDiscreteScheduler({ shift: 3 });
  scheduler.setTimesteps({ numInferenceSteps: 5 });
  assert.equal(scheduler.stepIndex, undefined);
  scheduler.step([1], scheduler.timesteps[2]!, [1]);
  assert.equal(scheduler.stepIndex, 3);
  scheduler.setTimesteps({ numInferenceSteps: 5 });
  scheduler.setBeginIndex(3);
  assert.equal(scheduler.beginIndex, 3);
  const stepped = scheduler.step([1], scheduler.timesteps[0]!, [1]);
  assertClose(stepped, [1 + scheduler.sigmas[4]! - scheduler.sigmas[3]!], "from the begin index");
  assert.equal(scheduler.stepIndex, 4);
  assert.throws(() => scheduler.indexForTimestep(3), /not a timestep of this schedule/);
  scheduler.setTimesteps({ sigmas: [1, 0.5, 0.5, 0] });
  assert.equal(scheduler.indexForTimestep(750), 2);
  assert.equal(scheduler.indexForTimestep(0), 3);
});

Deno.test("scaleNoise mixes by the timestep's sigma, for each sample of a batch", () => {
  const scheduler = new FlowMatchEulerDiscreteScheduler({ shift: 3 });
  scheduler.setTimesteps({ numInferenceSteps: 4 });
  const [a, b] = [scheduler.sigmas[1]!, scheduler.sigmas[3]!];
  const timesteps = [scheduler.timesteps[1]!, scheduler.timesteps[3]!];
  const mixed = scheduler.scaleNoise([1, 2, 3, 4], timesteps, [5, 6, 7, 8]);
  assertClose(
    mixed,
    [a * 5 + (1 - a), a * 6 + (1 - a) * 2, b * 7 + (1 - b) * 3, b * 8 + (1 - b) * 4],
    "batch",
  );
  scheduler.setBeginIndex(2);
  const c = scheduler.sigmas[2]!;
  assertClose(scheduler.scaleNoise([1], 12345, [2]), [c * 2 + 1 - c], "begin index");
  scheduler.step([0], 0, [0]);
  assertClose(scheduler.scaleNoise([1], 12345, [2]), [b * 2 + 1 - b], "step index");
  assert.throws(() => scheduler.scaleNoise([1, 2, 3], [1, 2], [1, 2, 3]), /shared by 2 timesteps/);
});

Deno.test("a clone shares nothing", () => {
  const scheduler = new FlowMatchEulerDiscreteScheduler({ shift: 3, shift_terminal: 0.02 });
  scheduler.setTimesteps({ numInferenceSteps: 5 });
  scheduler.setShift(2);
  scheduler.step([1], scheduler.timesteps[0]!, [1]);
  const copy = scheduler.clone();
  assert.deepEqual(copy, scheduler);
  const before = structuredClone({ ...scheduler });
  copy.setTimesteps({ numInferenceSteps: 9 });
  copy.sigmas.fill(7);
  copy.setShift(5);
  assert.deepEqual({ ...scheduler }, before);
  assert.equal(scheduler.stepIndex, 1);
});

Deno.test("setShift changes the schedules that follow", () => {
  const scheduler = new FlowMatchEulerDiscreteScheduler({ shift: 1 });
  scheduler.setShift(3);
  scheduler.setTimesteps({ sigmas: [1, 0.5] });
  assertClose(scheduler.sigmas, [1, 0.75, 0], "shift 3");
  for (const shift of [0, -1, NaN, Infinity]) {
    assert.throws(() => scheduler.setShift(shift), RangeError);
  }
});

Deno.test("config fields that are unknown or wrong are refused by name", () => {
  const refused: [Record<string, unknown>, RegExp][] = [
    [{ sigma_min: 0.1, thresholding: true }, /does not know "sigma_min", "thresholding"/],
    [{ toString: 1 }, /does not know "toString"/],
    [{ shift: "3" }, /"shift" must be a number/],
    [{ shift: 0 }, /"shift" must be positive/],
    [{ use_karras_sigmas: 1 }, /"use_karras_sigmas" must be a boolean/],
    [{ num_train_timesteps: 0.5 }, /"num_train_timesteps" must be a positive integer/],
    [{ shift_terminal: 1 }, /"shift_terminal" must be in/],
    [{ time_shift_type: "cubic" }, /"time_shift_type" must be "exponential" or "linear"/],
    [{ use_karras_sigmas: true, use_beta_sigmas: true }, /only one of use_karras_sigmas, use_beta/],
  ];
  for (const [config, message] of refused) {
    assert.throws(() => new FlowMatchEulerDiscreteScheduler(config), message);
  }
});

Deno.test("values that make no schedule are refused and leave the old one", () => {
  const scheduler = new FlowMatchEulerDiscreteScheduler({ shift: 3 });
  scheduler.setTimesteps({ numInferenceSteps: 3 });
  const before = structuredClone({ ...scheduler });
  const refused: [object, RegExp][] = [
    [{}, /One of numInferenceSteps, sigmas and timesteps/],
    [{ numInferenceSteps: 0 }, /from 1 to/],
    [{ numInferenceSteps: 2.5 }, /from 1 to/],
    [{ numInferenceSteps: 1e9 }, /from 1 to/],
    [{ sigmas: [] }, /must not be empty/],
    [{ sigmas: [1, NaN] }, /must be numbers/],
    [{ sigmas: [1, 0.5], numInferenceSteps: 3 }, /agree in length/],
    [{ sigmas: [1, 0.5], timesteps: [1000] }, /agree in length/],
    [{ sigmas: [1, -0.5] }, /not a number/],
    [{ numInferenceSteps: 3, mu: NaN }, /mu must be a number/],
  ];
  for (const [call, message] of refused) {
    assert.throws(() => scheduler.setTimesteps(call), message, JSON.stringify(call));
  }
  assert.deepEqual({ ...scheduler }, before);
  const dynamic = new FlowMatchEulerDiscreteScheduler({ use_dynamic_shifting: true });
  assert.throws(() => dynamic.setTimesteps({ numInferenceSteps: 3 }), /`mu` must be given/);
  const exponential = new FlowMatchEulerDiscreteScheduler({ use_exponential_sigmas: true });
  assert.throws(() => exponential.setTimesteps({ sigmas: [1, 0] }), /not a number/);
  const terminal = new FlowMatchEulerDiscreteScheduler({ shift_terminal: 0.1 });
  assert.throws(() => terminal.setTimesteps({ numInferenceSteps: 1 }), /not a number/);
  for (const begin of [-1, 0.5, NaN]) assert.throws(() => scheduler.setBeginIndex(begin));
});

Deno.test("mu is linear in the image's tokens", () => {
  assert.ok(Math.abs(calculateShift(256) - 0.5) < 1e-12);
  assert.ok(Math.abs(calculateShift(4096) - 1.15) < 1e-12);
  const other = { base_shift: 1, max_shift: 3, base_image_seq_len: 10, max_image_seq_len: 20 };
  assert.ok(Math.abs(calculateShift(15, other) - 2) < 1e-12);
});

Deno.test("the registry knows its classes and names them", () => {
  const config = { _class_name: "FlowMatchEulerDiscreteScheduler", _diffusers_version: "0.29.0" };
  const scheduler = createScheduler({ ...config, num_train_timesteps: 1000, shift: 3.0 });
  assert.ok(scheduler instanceof FlowMatchEulerDiscreteScheduler);
  assert.equal(scheduler.shift, 3);
  const known = /known are DPMSolver.*, FlowMatchEulerDiscreteScheduler/;
  for (const name of ["DDIMScheduler", "toString", undefined]) {
    assert.throws(() => createScheduler({ _class_name: name }), known);
  }
});

Deno.test("a scheduler prints its state, not its tables", () => {
  const scheduler = new FlowMatchEulerDiscreteScheduler({ shift: 3 });
  const text = "FlowMatchEulerDiscreteScheduler(shift: 3, steps: not set, stepIndex: none)";
  assert.equal(String(scheduler), text);
  assert.equal(Deno.inspect(scheduler), text);
});

Deno.test("a step that was refused leaves the next one free to begin elsewhere", () => {
  const make = () => {
    const scheduler = new FlowMatchEulerDiscreteScheduler({ stochastic_sampling: true });
    scheduler.setTimesteps({ numInferenceSteps: 6 });
    return scheduler;
  };
  const [refused, untouched] = [make(), make()];
  const { timesteps } = refused;
  const [velocity, sample, noise] = [[1, 2], [3, 4], [5, 6]];
  assert.throws(() => refused.step(velocity, timesteps[3]!, sample), TypeError);
  assert.deepEqual(
    refused.step(velocity, timesteps[1]!, sample, { noise }),
    untouched.step(velocity, timesteps[1]!, sample, { noise }),
  );
});
