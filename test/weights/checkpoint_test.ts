import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { readTensor } from "../../src/weights/checkpoint.ts";
import { openCheckpoint } from "../../src/weights/layouts/mod.ts";
import { directorySource } from "../../src/weights/deno_source.ts";
import { FileNotFoundError, WeightsError } from "../../src/weights/errors.ts";
import { safetensors, source } from "./make.ts";

const bytes = (first: number, count: number) =>
  Uint8Array.from({ length: count }, (_, i) => first + i);
const shard1 = safetensors([{ name: "a", dtype: "U8", shape: [3], bytes: bytes(1, 3) }]);
const shard2 = safetensors([
  { name: "b", dtype: "U8", shape: [2, 2], bytes: bytes(10, 4) },
  { name: "c", dtype: "F32", shape: [1] },
]);
const index = (map: unknown) => JSON.stringify({ metadata: { total_size: 11 }, weight_map: map });
const whole = { a: "model-1.safetensors", b: "model-2.safetensors", c: "model-2.safetensors" };

function wrong(pattern: RegExp, count: number) {
  return (error: unknown) => {
    assert.ok(error instanceof WeightsError, String(error));
    assert.match(error.message, pattern);
    assert.equal(error.problems.corrupt?.length, count, error.message);
    return true;
  };
}

for (const name of ["model.safetensors.index.json", "model.safetensors.index.fp16.json"]) {
  Deno.test(`shards by ${name}`, async () => {
    const checkpoint = await openCheckpoint(
      source({
        [`t/${name}`]: index(whole),
        "t/model-1.safetensors": shard1,
        "t/model-2.safetensors": shard2,
      }),
      "t",
    );
    assert.deepEqual([...checkpoint.tensors.keys()], ["a", "b", "c"]);
    const b = checkpoint.tensors.get("b")!;
    assert.equal(b.ranges[0]!.file, "t/model-2.safetensors");
    assert.deepEqual([...await readTensor(checkpoint, b)], [10, 11, 12, 13]);
    assert.deepEqual([...await readTensor(checkpoint, b, 1, 3)], [11, 12]);
  });
}

Deno.test("the plain name comes before the fp16 twin, in the source's root as well", async () => {
  const twin = { "model.fp16.safetensors": shard2 };
  const both = await openCheckpoint(source({ ...twin, "model.safetensors": shard1 }), "");
  assert.equal(both.name, "memory/model.safetensors");
  const one = await openCheckpoint(source(twin), "");
  assert.equal(one.name, "memory/model.fp16.safetensors");
  const sharded = await openCheckpoint(
    source({
      ...twin,
      "model.safetensors.index.json": index(whole),
      "model-1.safetensors": shard1,
      "model-2.safetensors": shard2,
    }),
    "",
  );
  assert.equal(sharded.tensors.size, 3);
  const named = source({ "v/weights.safetensors": shard1 });
  await assert.rejects(openCheckpoint(named, "v"), FileNotFoundError);
});

Deno.test("every fault of a sharded checkpoint is listed at once", async () => {
  const files = {
    "model.safetensors.index.json": index({
      ...whole,
      gone: "model-1.safetensors",
      d: "model-3.safetensors",
      e: "../escape.safetensors",
      f: "model-4.safetensors",
    }),
    "model-1.safetensors": shard1,
    "model-2.safetensors": shard2.slice(0, -1),
    "model-4.safetensors": safetensors([{ name: "f", dtype: "U8", shape: [1] }, {
      name: "a2",
      dtype: "U8",
      shape: [1],
    }]),
  };
  await assert.rejects(openCheckpoint(source(files), ""), (error) => {
    wrong(/model-2.safetensors: its tensors need/, 4)(error);
    const { message } = error as Error;
    assert.match(message, /"model-3.safetensors", which is absent/);
    assert.match(message, /"..\/escape.safetensors", which is absent/);
    assert.match(message, /names gone in model-1.safetensors, which lacks it/);
    return true;
  });
});

Deno.test("a tensor in two shards: the index decides; unlisted twice is refused", async () => {
  const files = {
    "model-1.safetensors": shard1,
    "model-2.safetensors": safetensors([
      { name: "a", dtype: "U8", shape: [1] },
      { name: "b", dtype: "U8", shape: [1] },
    ]),
  };
  const listed = index({ a: "model-1.safetensors", b: "model-2.safetensors" });
  const checkpoint = await openCheckpoint(
    source({ ...files, "model.safetensors.index.json": listed }),
    "",
  );
  assert.equal(checkpoint.tensors.get("a")!.ranges[0]!.file, "model-1.safetensors");
  const more = { ...files, "model-1.safetensors": files["model-2.safetensors"] };
  const unlisted = index({ b: "model-2.safetensors", x: "model-1.safetensors" });
  await assert.rejects(
    openCheckpoint(source({ ...more, "model.safetensors.index.json": unlisted }), ""),
    wrong(/a is also in model-2/, 2),
  );
});

Deno.test("unusable indices", async () => {
  for (
    const [text, pattern] of [
      ["{", /not valid JSON/],
      ["null", /no weight_map/],
      ['{"weight_map": []}', /no weight_map/],
      ['{"weight_map": {}}', /is empty/],
      ['{"weight_map": {"a": 3}}', /a is not mapped/],
    ] as const
  ) {
    await assert.rejects(
      openCheckpoint(source({ "model.safetensors.index.json": text }), ""),
      wrong(pattern, 1),
    );
  }
});

Deno.test("truncation anywhere in a file is refused", async () => {
  for (let size = 0; size < shard2.length; size++) {
    await assert.rejects(
      openCheckpoint(source({ "model.safetensors": shard2.slice(0, size) }), ""),
      WeightsError,
    );
  }
});

Deno.test("every network of the fixture opens", async () => {
  const folder = fileURLToPath(new URL("../../fixtures/sd35-tiny", import.meta.url));
  const files = directorySource(folder);
  const counts: Record<string, number> = {};
  for (const name of ["text_encoder", "text_encoder_2", "text_encoder_3", "transformer", "vae"]) {
    counts[name] = (await openCheckpoint(files, name)).tensors.size;
  }
  files.close();
  assert.deepEqual(counts, {
    text_encoder: 37,
    text_encoder_2: 53,
    text_encoder_3: 21,
    transformer: 233,
    vae: 180,
  });
});

Deno.test("the message lists every problem, however many", () => {
  const missing = Array.from({ length: 100 }, (_, i) => `tensor.${i}`);
  const error = new WeightsError("x", { missing, extra: ["other"] });
  assert.match(error.message, /missing \(100\):\n {4}tensor.0\n/);
  assert.match(error.message, /tensor\.99\n {2}not part of this model \(1\):\n {4}other$/);
});
