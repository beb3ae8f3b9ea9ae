/** Embeddings are made once, shared while in use, bounded in bytes, and freed exactly once. */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { PreparedText } from "../../src/models/sd3/components.ts";
import { PromptCache } from "../../src/pipeline/prompt_cache.ts";

/** Texts of `bytes` bytes that are no more than their names, and a log of what became of them. */
function studio(maxBytes: number) {
  const live = new Set<PreparedText>();
  const encoded: string[] = [];
  let running = 0;
  let mostRunning = 0;
  const cache = new PromptCache({
    maxBytes,
    destroy: (text) => assert.ok(live.delete(text), "destroyed twice"),
  });
  const encode = (name: string, bytes = 10) => async () => {
    mostRunning = Math.max(mostRunning, ++running);
    await new Promise((resolve) => setTimeout(resolve, 1));
    running--;
    encoded.push(name);
    if (name.startsWith("bad")) throw new Error(`cannot encode ${name}`);
    const tensor = (byteLength: number) => ({ label: name, byteLength });
    const text = { context: tensor(bytes - 2), pooled: tensor(2) } as unknown as PreparedText;
    live.add(text);
    return text;
  };
  return { cache, live, encoded, encode, most: () => mostRunning };
}

Deno.test("a known prompt is not encoded again, and requests at once share one encoding", async () => {
  const { cache, encoded, encode } = studio(100);
  const leases = await Promise.all([1, 2, 3].map(() => cache.acquire("a", encode("a"))));
  const [first, ...others] = leases.map(({ text }) => text);
  for (const text of others) assert.equal(text, first);
  assert.equal((await cache.acquire("a", encode("a"))).text, first);
  assert.deepEqual(encoded, ["a"]);
  assert.deepEqual([cache.hits, cache.misses], [3, 1]);
});

Deno.test("different prompts are encoded one at a time", async () => {
  const { cache, encode, most } = studio(100);
  await Promise.all(["a", "b", "c"].map((name) => cache.acquire(name, encode(name))));
  assert.equal(most(), 1);
});

Deno.test("the least recently used goes first, and what is on loan outlives its eviction", async () => {
  const { cache, live, encoded, encode } = studio(30);
  const a = await cache.acquire("a", encode("a"));
  for (const name of ["b", "c"]) (await cache.acquire(name, encode(name))).release();
  (await cache.acquire("b", encode("b"))).release();
  (await cache.acquire("d", encode("d"))).release();
  assert.ok(live.has(a.text), "in use, so still there");
  assert.equal(live.size, 4);
  a.release();
  a.release();
  assert.equal(live.size, 3, "evicted and given back");
  for (const name of ["b", "c", "d", "a"]) (await cache.acquire(name, encode(name))).release();
  assert.deepEqual(encoded, ["a", "b", "c", "d", "a"]);
  assert.ok(cache.idleBytes <= 30);
});

Deno.test("a pinned prompt stays, within a quarter of the bytes", async () => {
  const { cache, live, encoded, encode } = studio(40);
  (await cache.acquire("", encode(""), { pin: true })).release();
  (await cache.acquire("too many", encode("too many"), { pin: true })).release();
  for (const name of "abcdef") (await cache.acquire(name, encode(name))).release();
  await cache.acquire("", encode(""), { pin: true });
  assert.deepEqual(encoded, ["", "too many", ..."abcdef"]);
  assert.equal(cache.pinnedBytes, 10);
  assert.equal(live.size, 1 + 4);
});

Deno.test("a text larger than the cache serves its request and goes", async () => {
  const { cache, live, encode } = studio(10);
  const lease = await cache.acquire("long", encode("long", 50));
  assert.equal(live.size, 1);
  lease.release();
  assert.equal(live.size, 0);
  assert.equal(cache.idleBytes, 0);
});

Deno.test("a failed encoding fails all who wait for it, and is tried anew", async () => {
  const { cache, encoded, encode } = studio(100);
  const ends = await Promise.allSettled([1, 2].map(() => cache.acquire("bad", encode("bad"))));
  assert.ok(ends.every(({ status }) => status === "rejected"));
  await assert.rejects(cache.acquire("bad", encode("bad")), /cannot encode bad/);
  assert.deepEqual(encoded, ["bad", "bad"]);
  // One that throws at once, before it returns a promise.
  const thrower = () => {
    throw new Error("thrown");
  };
  await assert.rejects(cache.acquire("x", thrower), /thrown/);
  await cache.acquire("x", encode("x"));
});

Deno.test("who gives up stops waiting; the encoding serves the others", async () => {
  const { cache, live, encode } = studio(10);
  const stop = new AbortController();
  const gone = cache.acquire("a", encode("a", 50), { signal: stop.signal });
  const stays = cache.acquire("a", encode("a", 50));
  stop.abort(new Error("gave up"));
  await assert.rejects(gone, /gave up/);
  (await stays).release();
  assert.equal(live.size, 0);
  await assert.rejects(cache.acquire("b", encode("b"), { signal: stop.signal }), /gave up/);
});

Deno.test("an encoding that nobody waits for is not begun, and can be asked for again", async () => {
  const { cache, encoded, encode } = studio(100);
  const first = cache.acquire("first", encode("first"));
  const stop = new AbortController();
  const gone = cache.acquire("second", encode("second"), { signal: stop.signal });
  stop.abort(new Error("gave up"));
  await assert.rejects(gone, /gave up/);
  await first;
  await cache.acquire("third", encode("third"));
  assert.deepEqual(encoded, ["first", "third"]);
  await cache.acquire("second", encode("second"));
});

Deno.test("trim frees idle entries only, oldest first", async () => {
  const { cache, live, encode } = studio(100);
  const a = await cache.acquire("a", encode("a"));
  for (const name of ["b", "c", "d"]) (await cache.acquire(name, encode(name))).release();
  assert.equal(cache.idleBytes, 30);
  cache.trim(11);
  assert.equal(cache.idleBytes, 10);
  cache.trim(1000);
  assert.deepEqual([...live], [a.text]);
});

Deno.test("dispose frees all, also what is on loan or being made", async () => {
  const { cache, live, encode } = studio(100);
  const a = await cache.acquire("a", encode("a"));
  (await cache.acquire("", encode(""), { pin: true })).release();
  const coming = cache.acquire("b", encode("b"));
  await new Promise((resolve) => setTimeout(resolve, 0));
  cache.dispose();
  assert.deepEqual([...live], [a.text]);
  a.release();
  (await coming).release();
  assert.equal(live.size, 0);
});

Deno.test("in any order of loans, returns and abandons nothing leaks", async () => {
  const action = fc.record({
    name: fc.constantFrom("a", "b", "c", "d", "bad"),
    pin: fc.boolean(),
    abandon: fc.boolean(),
    hold: fc.integer({ min: 0, max: 4 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 12 }), async (actions) => {
      const { cache, live, encode } = studio(40);
      await Promise.all(actions.map(async ({ name, pin, abandon, hold }) => {
        const stop = new AbortController();
        const lease = cache.acquire(name, encode(name), { pin, signal: stop.signal });
        if (abandon) setTimeout(() => stop.abort(new Error("gave up")), hold);
        try {
          const { text, release } = await lease;
          await new Promise((resolve) => setTimeout(resolve, hold));
          assert.ok(live.has(text), "freed while in use");
          release();
        } catch (error) {
          assert.match((error as Error).message, /gave up|cannot encode bad/);
        }
      }));
      cache.dispose();
      assert.equal(live.size, 0);
    }),
    { seed: 3, numRuns: 25 },
  );
});
