/**
 * The published models at real sizes on every adapter there is a profile of: what a request runs is
 * within the adapter's limits, no invocation loops too often, and both WGSL compilers take every
 * kernel as it is specialised.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { describeModel } from "../../src/models/mod.ts";
import type { ModelDescription } from "../../src/models/sd3/describe.ts";
import { repositoryNames, syntheticModel } from "../../src/models/sd3/synthetic.ts";
import { directorySource } from "../../src/weights/deno_source.ts";
import { isQuantType } from "../../src/gpu/quantized.ts";
import { specialise } from "../../src/gpu/kernel.ts";
import { kernelUses } from "../../src/ops/mod.ts";
import { weightTypes } from "../../src/weights/weight_type.ts";
import { gpu } from "../gpu.ts";
import { tintErrors } from "../tint.ts";
import { iterations, mostIterations } from "./iterations.ts";
import { type Kind, kindsOfAdapters } from "./kinds.ts";
import { violations } from "./limits.ts";
import type { Form, Recording } from "./recording.ts";
import { run, type RunOptions, type Size } from "./requests.ts";

const tokenizers = directorySource(
  fileURLToPath(new URL("../../fixtures/sd35-tiny", import.meta.url)),
);

const models = new Map<string, ModelDescription>();
for (const name of repositoryNames) {
  models.set(name, await describeModel(await syntheticModel(name, tokenizers)));
}
/** Turbo has large's configs, and so its commands. */
const turbo = "stable-diffusion-3.5-large-turbo";

const kinds = kindsOfAdapters();
const forms = new Map<string, Form>();

/** Weight types that have several kernels to choose from, and which of those. */
const choices = [["auto", 1], ["auto", 2], ["auto", 3], ["q4_0", 1]] as const;

const GiB = 2 ** 30;
const [step, decode, encode] = ["step", "decode", "encode"];
const of = (size: string, ...what: string[]) => what.map((name) => `${size} ${name}`);

/**
 * What has an activation that is larger than an adapter binds, by the bytes that it binds. Requests
 * for these are refused with what was too large; all else works.
 */
const refusals: Readonly<Record<number, Readonly<Record<string, readonly string[]>>>> = {
  [GiB / 8]: {
    "stable-diffusion-3-medium": [
      ...of("1024x1024", encode),
      ...of("1440x1440", step, encode),
      ...of("768x1344", encode),
      ...of("3072x3072", step, encode),
    ],
    "stable-diffusion-3.5-medium": [
      ...of("1024x1024", encode),
      ...of("1440x1440", step, encode),
      ...of("768x1344", encode),
      ...of("6144x6144", step, decode, encode),
    ],
    "stable-diffusion-3.5-large": [
      ...of("1024x1024", step, encode),
      ...of("1440x1440", step, encode),
      ...of("768x1344", step, encode),
      ...of("3072x3072", step, encode),
    ],
  },
  [GiB]: {
    "stable-diffusion-3-medium": of("3072x3072", encode),
    "stable-diffusion-3.5-medium": of("6144x6144", step, encode),
    "stable-diffusion-3.5-large": of("3072x3072", step, encode),
  },
  [2 * GiB - 4]: {
    "stable-diffusion-3-medium": of("3072x3072", encode),
    "stable-diffusion-3.5-medium": of("6144x6144", step, encode),
    "stable-diffusion-3.5-large": of("3072x3072", encode),
  },
  [4 * GiB - 4]: {
    "stable-diffusion-3-medium": of("3072x3072", encode),
    "stable-diffusion-3.5-medium": of("6144x6144", encode),
    "stable-diffusion-3.5-large": of("3072x3072", encode),
  },
};

/**
 * Kernels that loop longer than they should, and the least bytes that an adapter must bind to get
 * there: attention over the 147,789 tokens of 6144 x 6144. No driver known to stop early binds as much.
 */
const loopsTooLong = { bytes: 4 * GiB - 4, kernels: ["attention", "attention_tile"] };

function sizesOf({ info: { maxSize } }: ModelDescription): Size[] {
  return [[512, 512], [1024, 1024], [1440, 1440], [768, 1344], [maxSize, maxSize]];
}

function keyOf(code: string, constants: Readonly<Record<string, number>>): string {
  return JSON.stringify([code, Object.entries(constants).sort()]);
}

const isStep = (name: string) => name.endsWith(" step");

/** Runs, keeps the pipelines for later and returns what is wrong with the rest. */
async function recorded(model: ModelDescription, kind: Kind, options: RunOptions) {
  const { recording, refused } = await run(model, kind, options);
  for (const form of recording.forms.values()) {
    forms.set(keyOf(form.code, form.constants), form);
  }
  const problems = kind.profiles.flatMap(([name, { limits }]) =>
    violations(recording, limits).map((problem) => `${name}: ${problem}`)
  );
  return { problems, refused, long: longest(recording) };
}

/** Kernels whose invocations loop too often. */
function longest({ dispatches }: Recording): string[] {
  const long = [...dispatches.values()].filter((one) => iterations(one) > mostIterations);
  return [...new Set(long.map(({ form }) => form.kernel))];
}

Deno.test("turbo is large to the networks", () => {
  assert.deepEqual(models.get(turbo)!.configs, models.get("stable-diffusion-3.5-large")!.configs);
});

for (const [name, model] of models) {
  if (name === turbo) continue;
  for (const kind of kinds) {
    const bytes = kind.like.limits.maxStorageBufferBindingSize;
    const expected = refusals[bytes]![name]!;
    const mayBeLong = bytes >= loopsTooLong.bytes ? loopsTooLong.kernels : [];

    Deno.test(`${name} fits ${kind.name}`, async () => {
      for (const weightType of weightTypes) {
        const { problems, refused, long } = await recorded(model, kind, {
          sizes: sizesOf(model),
          batches: [1, 2, 8],
          weightType,
          choice: 0,
        });
        assert.deepEqual(problems, [], weightType);
        assert.deepEqual(refused, isQuantType(weightType) ? expected.filter(isStep) : expected);
        assert.deepEqual(long.filter((kernel) => !mayBeLong.includes(kernel)), [], weightType);
      }
    });

    Deno.test(`${name} fits ${kind.name}, whatever kernels tuning chooses`, async () => {
      const { maxSize } = model.info;
      for (const [weightType, choice] of choices) {
        const { problems, long } = await recorded(model, kind, {
          sizes: [[1024, 1024], [maxSize, maxSize]],
          batches: [2],
          weightType,
          choice,
        });
        assert.deepEqual(problems, [], `${weightType}, ${choice}`);
        assert.deepEqual(long.filter((kernel) => !mayBeLong.includes(kernel)), []);
      }
    });
  }
}

Deno.test("naga and Tint compile every pipeline of these runs as it is specialised", async () => {
  assert.ok(forms.size > 0);
  // What the ops list is compiled where the kernels' files are looked at.
  for (const { kernel, specialisations } of kernelUses) {
    for (const form of specialisations) {
      const code = specialise(kernel, form);
      const constants = Object.entries(form.override ?? {}).map(([key, v]) => [key, Number(v)]);
      forms.delete(keyOf(code, Object.fromEntries(constants)));
    }
  }
  for (const { kernel, code, constants } of forms.values()) {
    const values = { ...constants };
    assert.deepEqual(await tintErrors(code, values), [], `${kernel} ${JSON.stringify(constants)}`);
    await gpu.scope(kernel, () => {
      const module = gpu.device.createShaderModule({ label: kernel, code });
      gpu.device.createComputePipeline({
        label: kernel,
        layout: "auto",
        compute: { module, entryPoint: "main", constants: values },
      });
    });
  }
});
