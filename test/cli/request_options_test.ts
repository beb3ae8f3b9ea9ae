import assert from "node:assert/strict";
import { Command } from "commander";
import { addRequestOptions, requestOptions } from "../../cli/request_options.ts";
import { rows } from "../../src/requests/fields.ts";
import { defaultRequestLimits } from "../../src/requests/model_info.ts";
import { resolveRequest } from "../../src/requests/request.ts";
import { fakeModel } from "../http/fake_engine.ts";

const names = rows.map(({ name }) => name);

function parse(...args: string[]) {
  const command = addRequestOptions(new Command().exitOverride(), names)
    .option("--model <dir>", "no field of a request", "folder")
    .configureOutput({ writeErr: () => {} });
  return requestOptions(command.parse(args, { from: "user" }).opts());
}

Deno.test("every field of the table is an option, under its name", () => {
  const values = { text: "a b", whole: "1", number: "0.5", wholes: "1,2", numbers: "1,0.5" };
  const parsed = { text: "a b", whole: 1, number: 0.5, wholes: [1, 2], numbers: [1, 0.5] };
  const args = rows.flatMap(({ json, field }) => [
    `--${json.replaceAll("_", "-")}`,
    values[field.kind],
  ]);
  const expected = rows.map(({ name, field }) => [name, parsed[field.kind]]);
  assert.deepEqual(parse(...args), Object.fromEntries(expected));
  assert.deepEqual(parse(), {}, "what is not given is left to the model");
});

Deno.test("text where a number belongs is refused before a model is loaded", () => {
  for (const args of [["--height", "x"], ["--seed", "1.5"], ["--sigmas", "1,,0"]]) {
    assert.throws(() => parse(...args), /Not a number|Not an integer/);
  }
});

Deno.test("--seed -1 draws one", () => {
  const request = { prompt: "a", ...parse("--seed", "-1") };
  const { seed } = resolveRequest(request, { model: fakeModel, limits: defaultRequestLimits });
  assert.ok(seed >= 0);
});
