/**
 * Samplers of every kind in one batch: each image has the PNG bytes that it has alone. A view of the
 * pipeline with another scheduler shares its loop, so that one turn holds steps of all of them.
 */
import assert from "node:assert/strict";
import { InvalidRequestError } from "../../src/requests/errors.ts";
import { defaultRequestLimits } from "../../src/requests/model_info.ts";
import { resolveRequest } from "../../src/requests/request.ts";
import type { StableDiffusion3Pipeline } from "../../src/pipeline/stable_diffusion_3.ts";
import { createScheduler } from "../../src/schedulers/mod.ts";
import {
  components,
  gpu,
  loop,
  model,
  openPipeline,
  pngs,
  requests,
} from "../pipeline/small_requests.ts";
import type { StepShape, TransformerComponent } from "../../src/models/sd3/components.ts";

const flow = { use_flow_sigmas: true, prediction_type: "flow_prediction", flow_shift: 3 };
const dpm = { _class_name: "DPMSolverMultistepScheduler", ...flow };
const samplers: Record<string, Record<string, unknown>> = {
  euler: { _class_name: "FlowMatchEulerDiscreteScheduler", shift: 3 },
  stochastic: {
    _class_name: "FlowMatchEulerDiscreteScheduler",
    shift: 3,
    stochastic_sampling: true,
  },
  heun: { _class_name: "FlowMatchHeunDiscreteScheduler", shift: 3 },
  dpm2: dpm,
  dpm3: { ...dpm, solver_order: 3, lower_order_final: false },
  sde: { ...dpm, algorithm_type: "sde-dpmsolver++" },
};

/** Shapes of the steps since they were last cleared. */
const shapes: StepShape[] = [];
const { transformer } = components;
const watched: TransformerComponent = {
  config: transformer.config,
  contextWidth: transformer.contextWidth,
  pooledWidth: transformer.pooledWidth,
  prepareText: transformer.prepareText.bind(transformer),
  step: (shape) => {
    shapes.push(shape);
    return transformer.step(shape);
  },
  dispose: () => {},
};
const pipeline = openPipeline(model, { ...components, transformer: watched }, {
  recordAhead: true,
});
const views = Object.values(samplers).map((config): StableDiffusion3Pipeline =>
  Object.create(pipeline, { scheduler: { value: createScheduler(config) } })
);
/** Guidance, none, skipped layers and two images; of one size, so that all may share a turn. */
const jobs = views.map((view, i) => ({
  view,
  request: { ...requests[[0, 1, 4, 3, 2, 0][i]!]!, numInferenceSteps: 4, seed: 40 + i },
}));

loop.reset(8);
const expected: string[] = [];
for (const { view, request } of jobs) expected.push(pngs(await view.generate(request)));

Deno.test("every sampler makes another image, and the plain one allocates nothing for the others", async () => {
  const same = { ...requests[0]!, numInferenceSteps: 4 };
  const images = new Set<string>();
  for (const view of views) images.add(pngs(await view.generate(same)));
  assert.equal(images.size, views.length);
  shapes.length = 0;
  await views[0]!.generate(same);
  assert.ok(shapes.every(({ combined, slots }) => combined === 0 && slots === 0));
  shapes.length = 0;
  await views[2]!.generate(same);
  assert.equal(shapes.length, 7, "Heun's four steps are seven evaluations");
  assert.deepEqual(shapes.map(({ slots }) => slots), [1, 1, 1, 1, 1, 1, 0]);
});

for (const maxBatch of [8, 3]) {
  Deno.test(`all samplers at once, ${maxBatch} to a batch: every image as alone`, async () => {
    loop.reset(maxBatch);
    shapes.length = 0;
    const results = await Promise.all(jobs.map(({ view, request }) => view.generate(request)));
    assert.deepEqual(results.map(pngs), expected);
    const mixed = shapes.filter(({ images, combined }) => combined > 0 && combined < images);
    assert.ok(mixed.length > 0, "no turn had plain and other images");
    assert.ok(shapes.some(({ slots, combined }) => slots === 2 && combined > 1));
  });
}

Deno.test("samplers that join each other midway, in two orders", async () => {
  for (const order of [[0, 3, 2, 5, 4, 1], [4, 5, 0, 2, 1, 3]]) {
    loop.reset(8);
    const results: string[] = [];
    let previous = Promise.withResolvers<void>();
    previous.resolve();
    await Promise.all(order.map(async (which) => {
      const turn = previous.promise;
      const mine = previous = Promise.withResolvers<void>();
      await turn;
      const { view, request } = jobs[which]!;
      const result = await view.generate(request, {
        onProgress: ({ type }) => type === "progress" && mine.resolve(),
      });
      results[which] = pngs(result);
    }));
    assert.deepEqual(results, expected);
    assert.ok(loop.turns.some(({ images }) => images > 2));
  }
});

Deno.test("a sampler that gives up midway frees what it kept, and disturbs nobody", async () => {
  loop.reset(8);
  const stop = new AbortController();
  const { view, request } = jobs[4]!;
  const lost = view.generate({ ...request, numInferenceSteps: 20 }, {
    signal: stop.signal,
    onProgress: (event) => {
      if (event.type === "progress" && event.step === 2) stop.abort(new Error("gave up"));
    },
  });
  const [result] = await Promise.all([
    jobs[3]!.view.generate(jobs[3]!.request),
    assert.rejects(lost, /gave up/),
  ]);
  assert.equal(pngs(result), expected[3]);
  assert.equal(gpu.ledger.bytes("requests"), 0);
});

Deno.test("values that make no schedule are an invalid request", () => {
  const rules = { model: model.info, limits: defaultRequestLimits };
  const scheduled = { ...resolveRequest(requests[0]!, rules), sigmas: [0.5, 0.5] };
  assert.throws(
    () => views[3]!.schedule(scheduled),
    (error) => error instanceof InvalidRequestError && error.param === "sigmas",
  );
  assert.equal(views[0]!.schedule(scheduled).length, 2);
});
