/** Every file in kernels/: valid in naga and Tint as it lies and in every declared form. */
import assert from "node:assert/strict";
import { defineKernel, type Kernel, type Specialisation, specialise } from "../src/gpu/kernel.ts";
import { kernelUses } from "../src/ops/mod.ts";
import { gpu } from "./gpu.ts";
import { tintErrors } from "./tint.ts";

const folder = new URL("../kernels/", import.meta.url);
const files = [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
const used = new Map(kernelUses.map((use) => [use.kernel.name, use]));

Deno.test("kernels/ holds .wgsl files only, each used by an op", () => {
  assert.deepEqual(files.filter((name) => !name.endsWith(".wgsl")), []);
  assert.deepEqual(files.map((name) => name.replace(".wgsl", "")), [...used.keys()].sort());
});

for (const file of files) {
  const name = file.replace(".wgsl", "");
  const source = Deno.readTextFileSync(new URL(file, folder));

  Deno.test(`${file} opens with its contract`, () => {
    const header = source.match(/^(\/\/.*\n)+/)?.[0] ?? "";
    const kernel = defineKernel(name, source);
    assert.ok(kernel.bindings.length > 0);
    for (const binding of kernel.bindings) {
      assert.match(header, new RegExp(`\\b${binding.name}\\b`), `header names ${binding.name}`);
    }
    assert.match(header, /grid/i, "header says what the grid is");
    const ids = source.match(/\bgroup\.[xyz]|@builtin\((num_workgroups|global_\w+)\)/g) ?? [];
    const told = source.match(/params\.group_([xyz]) \+ group\.\1\b/g) ?? [];
    assert.equal(ids.length, told.length, "a workgroup is counted from where its dispatch begins");
    for (const [i, line] of source.split("\n").entries()) {
      assert.ok(line.length <= 100, `line ${i + 1} is over 100 columns`);
    }
  });

  Deno.test(`${file} is valid in naga and Tint in every form`, async () => {
    const kernel = defineKernel(name, source);
    const asItLies = await tintErrors(source, {});
    assert.deepEqual(asItLies, [], "as it lies, Tint");
    for (const form of [{}, ...used.get(name)?.specialisations ?? []]) {
      await assertValid(kernel, form);
    }
  });
}

Deno.test("the kernels of one op apply activations in the same words", () => {
  const bodies = files.filter((file) => file.startsWith("linear_")).map((file) => {
    const source = Deno.readTextFileSync(new URL(file, folder));
    return source.match(/^fn activate\([^]*?^}/m)?.[0];
  });
  assert.ok(bodies.length > 1 && bodies[0]);
  assert.equal(new Set(bodies).size, 1);
});

async function assertValid(kernel: Kernel, form: Specialisation): Promise<void> {
  const constants = Object.fromEntries(
    Object.entries(form.override ?? {}).map(([key, value]) => [key, Number(value)]),
  );
  const errors = await tintErrors(specialise(kernel, form), constants);
  assert.deepEqual(errors, [], `${JSON.stringify(form)}, Tint`);
  gpu.pipelines.get(kernel, form);
  await gpu.pipelines.settled();
}
