/** The table of fields, walked: every front door accepts and refuses what the core does. */
import assert from "node:assert/strict";
import { InvalidRequestError } from "../../src/requests/errors.ts";
import {
  type Field,
  fieldFacts,
  type FieldName,
  fields,
  type Range,
  type Row,
  rows,
} from "../../src/requests/fields.ts";
import { toJson } from "../../src/requests/json.ts";
import { resolveRequest } from "../../src/requests/request.ts";
import type { GenerateRequest } from "../../src/requests/types.ts";
import { fakeModel } from "../http/fake_engine.ts";
import { type Fixture, withApp } from "../http/fixture.ts";

const limits = { maxSize: 100, maxSteps: 12, maxImages: 3, maxPromptLength: 20 };
const rules = { model: fakeModel, limits };

/** Both ends of a range, and what lies just beyond them. */
function ends({ minimum, maximum, step, exclusive }: Range, whole: boolean) {
  const unit = step ?? (whole ? 1 : 2 ** -30);
  return {
    inside: [exclusive ? minimum + unit : minimum, maximum],
    outside: [exclusive ? minimum : minimum - unit, maximum + unit, ...(step ? [step + 1] : [])],
  };
}

/** `count` falling numbers in (0, 1], or the blocks from 0. */
const list = (field: Field, count: number) =>
  Array.from({ length: count }, (_, i) => field.kind === "wholes" ? i % 6 : 1 - i / 100);

/** Values that a field takes, and such that it must refuse. */
function trials({ field }: Row): { accepted: unknown[]; refused: unknown[] } {
  const range = field.range(rules);
  if (field.kind === "text") {
    const { maximum } = range;
    return { accepted: ["x", "x".repeat(maximum)], refused: ["x".repeat(maximum + 1), "\ud800"] };
  }
  const { inside, outside } = ends(range, field.kind.startsWith("whole"));
  if (field.kind === "whole" || field.kind === "number") {
    return { accepted: inside, refused: [...outside, NaN, "1"] };
  }
  const { minimum, maximum } = field.items!(rules);
  return {
    accepted: [...inside.map((item) => [item]), list(field, minimum), list(field, maximum)],
    refused: [...outside.map((item) => [item]), list(field, minimum - 1), list(field, maximum + 1)],
  };
}

/** A request with this value, and what the field needs beside it. */
function requestWith({ name, field }: Row, value: unknown): GenerateRequest {
  return {
    prompt: "a",
    numInferenceSteps: name === "sigmas" ? undefined : 1,
    ...(field.needs && { [field.needs]: list(fields[field.needs as FieldName], 1) }),
    [name]: value,
  };
}

/** What the core says: nothing, or why not. */
function refusal(request: GenerateRequest): InvalidRequestError | undefined {
  try {
    resolveRequest(request, rules);
    return undefined;
  } catch (error) {
    assert.ok(error instanceof InvalidRequestError);
    return error;
  }
}

async function assertSame(app: Fixture, path: string, body: unknown, said: Error | undefined) {
  const response = await app.post(path, body);
  const { error } = await response.json();
  assert.equal(error?.message, said?.message, JSON.stringify(body));
  assert.equal(response.ok, said === undefined);
}

Deno.test("rows name only rows before them", () => {
  for (const [i, { name, field }] of rows.entries()) {
    const before: string[] = rows.slice(0, i).map(({ name }) => name);
    for (const other of [field.like, field.needs]) {
      assert.ok(other === undefined || before.includes(other), `${name}: ${other}`);
    }
    assert.equal("items" in field, field.kind === "wholes" || field.kind === "numbers", name);
  }
});

for (const row of rows) {
  const { json, name, field } = row;
  Deno.test(`${json}: core, HTTP, OpenAPI and status agree on what it takes`, async () => {
    await withApp({ config: limits }, async (app) => {
      const { accepted, refused } = trials(row);
      for (const value of accepted) {
        assert.equal(refusal(requestWith(row, value)), undefined, `${name}: ${value}`);
      }
      for (const value of refused) {
        const error = refusal(requestWith(row, value));
        assert.ok(error?.param.startsWith(json), `${name}: ${value} is accepted`);
      }
      for (const value of [...accepted, ...refused.filter((value) => !Number.isNaN(value))]) {
        const request = requestWith(row, value);
        const said = refusal(request);
        await assertSame(app, "/api/diffusers/inference", toJson(request), said);
        if (field.openai) await assertSame(app, "/v1/images/generations", toJson(request), said);
      }

      const facts = fieldFacts(rules)[json]!;
      const { fields: told, limits: most } = await (await app.request("/api/status")).json();
      assert.deepEqual(told[json], JSON.parse(JSON.stringify(facts)));
      if (field.kind === "whole" || field.kind === "number") {
        assert.equal(most[`max_${json.replace("max_", "")}`], facts.maximum);
      }
      const document = await (await app.request("/openapi.json")).json();
      const { InferenceRequest, ImageGenerationRequest } = document.components.schemas;
      const schema = InferenceRequest.properties[json];
      assertPromises(schema, row);
      assert.equal(schema.description, field.help);
      assert.deepEqual(schema.default, facts.default);
      if (field.openai) assert.deepEqual(ImageGenerationRequest.properties[json], schema);
    });
  });
}

// deno-lint-ignore no-explicit-any -- a JSON schema
function assertPromises(schema: any, { field }: Row): void {
  const range = field.range(rules);
  if (field.kind === "text") return assert.equal(schema.maxLength, range.maximum);
  const number = field.items ? schema.items : schema;
  assert.equal(range.exclusive ? number.exclusiveMinimum : number.minimum, range.minimum);
  assert.deepEqual([number.maximum, number.multipleOf], [range.maximum, range.step]);
  const items = field.items?.(rules);
  assert.deepEqual([schema.minItems, schema.maxItems], [items?.minimum, items?.maximum]);
}

Deno.test("a default beyond what the operator allows is held within it", () => {
  const large = { ...fakeModel, defaults: { ...fakeModel.defaults, height: 512 } };
  assert.equal(resolveRequest({ prompt: "a" }, { model: large, limits }).height, 96);
});

Deno.test("a resolved request resolves to itself", () => {
  const request = { prompt: "a", negativePrompt: "b", seed: 3, skipGuidanceLayers: [4, 1, 4] };
  const resolved = resolveRequest(request, rules);
  assert.deepEqual(resolved.skipGuidanceLayers, [1, 4]);
  assert.equal(resolved.skipLayerGuidanceScale, 2.8);
  assert.deepEqual([resolved.prompt3, resolved.negativePrompt3], ["a", "b"]);
  assert.deepEqual(resolveRequest(resolved, rules), resolved);
});

Deno.test("fields that nobody knows, or that contradict each other, are refused", () => {
  const refused: [object, string, RegExp][] = [
    [{ steps: 5 }, "steps", /Unknown field/],
    [{ constructor: 5 }, "constructor", /Unknown field/],
    [{ sigmas: [1, 0.5], numInferenceSteps: 3 }, "sigmas", /give one of the two/],
    [{ skipLayerGuidanceStop: 0.5 }, "skip_layer_guidance_stop", /needs skip_guidance_layers/],
  ];
  for (const [fields, param, message] of refused) {
    const error = refusal({ prompt: "a", ...fields });
    assert.equal(error?.param, param);
    assert.match(error!.message, message);
  }
  assert.equal(refusal({ prompt: "a", sigmas: [1, 0.5], numInferenceSteps: 2 }), undefined);
});

Deno.test("seed -1 is drawn at random at every front door, and the answer says what was drawn", async () => {
  const drawn = new Set<number>();
  const take = (seed: number) => {
    assert.ok(Number.isSafeInteger(seed) && seed >= 0);
    drawn.add(seed);
  };
  take(resolveRequest({ prompt: "a", seed: -1 }, rules).seed);
  await withApp({}, async ({ post, engine }) => {
    for (const path of ["/api/diffusers/inference", "/v1/images/generations"]) {
      const { parameters, seeds } = await (await post(path, { prompt: "a", seed: -1 })).json();
      assert.deepEqual(seeds, [parameters.seed]);
      take(parameters.seed);
    }
    take((await engine.generate({ prompt: "a", seed: -1 })).images[0]!.seed);
  });
  assert.equal(drawn.size, 4);
});
