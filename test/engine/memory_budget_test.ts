/** A model that cannot fit its budget is refused before it is loaded, with what would fit. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { openEngine } from "../../src/engine/engine.ts";
import { openPlanner } from "../../src/engine/memory_budget.ts";
import { dryGpu } from "../../src/gpu/dry_device.ts";
import { OutOfDeviceMemoryError } from "../../src/gpu/errors.ts";
import { describeModel } from "../../src/models/mod.ts";
import { directorySource } from "../../src/weights/deno_source.ts";

const source = directorySource(fileURLToPath(new URL("../../fixtures/sd35-tiny", import.meta.url)));
const model = await describeModel(source);
const mib = 2 ** 20;

/** What the message says that some weights need, in MiB. */
const needOf = (message: string, pattern: RegExp) => Number(pattern.exec(message)?.[1]);

async function refusal(budget: number, weightType?: "f32" | "q4_0"): Promise<string> {
  const opened = openPlanner(model, dryGpu(), { memoryBudget: budget * mib, weightType });
  const error = await opened.then(() => assert.fail("it fits"), (error) => error);
  assert.ok(error instanceof OutOfDeviceMemoryError, String(error));
  return error.message;
}

Deno.test("what would fit is named, and does fit", async () => {
  const nothing = await refusal(1);
  assert.match(
    nothing,
    /^sd35-tiny needs .* MiB of GPU memory with weights auto.* is 1 MiB: give it/,
  );
  assert.match(
    nothing,
    /give it more; more than the budget are also weights q8_0 \(.*\) or q4_0 \(/,
  );
  const auto = needOf(nothing, /needs ([\d.]+) MiB/);
  const [q8, q4] = [needOf(nothing, /q8_0 \(([\d.]+) MiB/), needOf(nothing, /q4_0 \(([\d.]+) MiB/)];
  assert.ok(q4 < q8 && q8 < auto, nothing);
  // The budget in the message is enough, a little less is not.
  await openPlanner(model, dryGpu(), { memoryBudget: auto * mib });
  await openPlanner(model, dryGpu(), { memoryBudget: q4 * mib, weightType: "q4_0" });
  assert.match(await refusal(auto - 0.2), /give it more, or take weights q8_0 \(.*\) or q4_0 \(/);
  assert.match(await refusal((q4 + q8) / 2), /or take weights q4_0 \([\d.]+ MiB\)$/);
  assert.match(await refusal(q4 - 0.2, "q4_0"), /with weights q4_0.*: give it more$/);
  assert.match(await refusal(auto, "f32"), /or take weights auto \(/);
});

Deno.test("the engine refuses before any weight is read", async () => {
  const read: string[] = [];
  const watched = {
    ...source,
    read: (path: string, start: number, end: number) => {
      // The headers, which say how large everything is.
      if (end - start > 2 ** 16) read.push(`${path} ${start} ${end}`);
      return source.read(path, start, end);
    },
  };
  const gpu = dryGpu();
  await assert.rejects(openEngine(watched, { gpu, memoryBudget: mib }), OutOfDeviceMemoryError);
  assert.deepEqual(read, []);
  assert.equal(gpu.ledger.peakOf("weights"), 0);
  source.close();
});
