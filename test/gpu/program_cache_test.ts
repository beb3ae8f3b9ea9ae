import assert from "node:assert/strict";
import { ProgramCache } from "../../src/gpu/program_cache.ts";

class Entry {
  disposed = 0;
  constructor(readonly name: string) {}
  dispose() {
    this.disposed++;
  }
}

Deno.test("a key is recorded once, also by callers at the same time", async () => {
  const cache = new ProgramCache<Entry>(4);
  let recordings = 0;
  const record = async () => {
    recordings++;
    await Promise.resolve();
    return new Entry("a");
  };
  const [first, second] = await Promise.all([cache.get("a", record), cache.get("a", record)]);
  assert.equal(first, second);
  assert.equal(await cache.get("a", record), first);
  assert.equal(recordings, 1);
});

Deno.test("the least recently used entry is disposed, each once", async () => {
  const cache = new ProgramCache<Entry>(2);
  const get = (name: string) => cache.get(name, () => Promise.resolve(new Entry(name)));
  const [a, b] = [await get("a"), await get("b")];
  await get("a");
  const c = await get("c");
  assert.deepEqual([a, b, c].map((entry) => entry.disposed), [0, 1, 0]);
  cache.dispose();
  assert.deepEqual([a, b, c].map((entry) => entry.disposed), [1, 1, 1]);
});

Deno.test("a failed recording is not kept", async () => {
  const cache = new ProgramCache<Entry>(2);
  await assert.rejects(
    async () => await cache.get("a", () => Promise.reject(new Error("no"))),
    /no/,
  );
  const entry = await cache.get("a", () => Promise.resolve(new Entry("a")));
  assert.equal(entry.name, "a");
});
