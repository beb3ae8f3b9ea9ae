import assert from "node:assert/strict";
import { isTokenizer, TokenizerLock, unlocked } from "../../src/server_async/tokenizer_lock.ts";
import { clipL } from "../tokenizers/files.ts";

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

class SlowTokenizer {
  running = 0;
  most = 0;
  readonly order: string[] = [];
  readonly modelMaxLength = 24;

  async encode(text: string, ms = 1): Promise<string> {
    this.most = Math.max(this.most, ++this.running);
    this.order.push(text);
    await pause(ms);
    this.running--;
    if (text === "bad") throw new Error("bad text");
    return text.toUpperCase();
  }
}

Deno.test("calls never overlap and are served in order", async () => {
  const tokenizer = new SlowTokenizer();
  const locked = new TokenizerLock().wrap(tokenizer);
  const texts = Array.from({ length: 12 }, (_, i) => `t${i}`);
  const results = await Promise.all(texts.map((text, i) => locked.encode(text, 12 - i)));
  assert.deepEqual(results, texts.map((text) => text.toUpperCase()));
  assert.deepEqual(tokenizer.order, texts);
  assert.equal(tokenizer.most, 1);
});

Deno.test("one lock guards several tokenizers", async () => {
  const lock = new TokenizerLock();
  const shared = new SlowTokenizer();
  const views = [lock.wrap(shared), lock.wrap(shared)];
  await Promise.all(views.map((view) => view.encode("x", 3)));
  assert.equal(shared.most, 1);

  let open = 0;
  let most = 0;
  const use = async () => {
    most = Math.max(most, ++open);
    await pause(2);
    open--;
  };
  const one = lock.wrap({ encode: use, modelMaxLength: 1 });
  const two = lock.wrap({ encode: use, modelMaxLength: 1 });
  await Promise.all([one.encode(), two.encode(), one.encode()]);
  assert.equal(most, 1);
});

Deno.test("an exception releases the lock, thrown at once or later", async () => {
  const lock = new TokenizerLock();
  const locked = lock.wrap(new SlowTokenizer());
  const bad = assert.rejects(locked.encode("bad"), /bad text/);
  const good = locked.encode("good");
  await bad;
  assert.equal(await good, "GOOD");
  await assert.rejects(
    lock.run(() => {
      throw new TypeError("at once");
    }),
    /at once/,
  );
  assert.equal(await lock.run(() => 7), 7);
  assert.equal(lock.isLocked, false);
});

Deno.test("an abort while waiting: the call never starts and the queue moves on", async () => {
  const tokenizer = new SlowTokenizer();
  const lock = new TokenizerLock();
  const abort = new AbortController();
  const first = lock.wrap(tokenizer).encode("first", 10);
  const waiting = lock.wrap(tokenizer, abort.signal).encode("waiting");
  const last = lock.wrap(tokenizer).encode("last");
  const reason = new Error("gone away");
  abort.abort(reason);
  await assert.rejects(waiting, (error) => error === reason);
  assert.equal(tokenizer.running, 1);
  assert.deepEqual(await Promise.all([first, last]), ["FIRST", "LAST"]);
  assert.deepEqual(tokenizer.order, ["first", "last"]);
  await assert.rejects(lock.wrap(tokenizer, abort.signal).encode("late"), /gone away/);
  assert.deepEqual(tokenizer.order, ["first", "last"]);
});

Deno.test("an abort while running: the caller is free at once, the tokenizer when it is done", async () => {
  const tokenizer = new SlowTokenizer();
  const lock = new TokenizerLock();
  const abort = new AbortController();
  const running = lock.wrap(tokenizer, abort.signal).encode("running", 20);
  const next = lock.wrap(tokenizer).encode("next");
  await pause(2);
  abort.abort(new Error("stop"));
  await assert.rejects(running, /stop/);
  assert.deepEqual(tokenizer.order, ["running"]);
  assert.equal(await next, "NEXT");
  assert.equal(tokenizer.most, 1);
});

Deno.test("a call that never settles loses the lock after its abort", async () => {
  const lock = new TokenizerLock({ abandonAfter: 10 });
  const abort = new AbortController();
  const dead = lock.run(() => new Promise<void>(() => {}), abort.signal);
  const next = lock.run(() => "next");
  abort.abort(new Error("stop"));
  await assert.rejects(dead, /stop/);
  assert.equal(await next, "next");
});

Deno.test("a locked tokenizer reads, writes and enumerates like its original", async () => {
  const original = Object.freeze({ modelMaxLength: 3, encode: (text: string) => text.length });
  const locked = new TokenizerLock().wrap(original);
  assert.equal(locked.modelMaxLength, 3);
  assert.deepEqual(Object.keys(locked), ["modelMaxLength", "encode"]);
  assert.ok("encode" in locked);
  assert.equal(locked.encode, locked.encode);
  const answer = locked.encode("four");
  assert.ok(answer instanceof Promise);
  assert.equal(await answer, 4);
  const slow = new SlowTokenizer();
  const lockedSlow = new TokenizerLock().wrap(slow);
  assert.ok(lockedSlow instanceof SlowTokenizer);
  lockedSlow.most = 9;
  assert.equal(slow.most, 9);
});

Deno.test("a callable tokenizer is locked too, and a wrapper is never wrapped twice", async () => {
  const lock = new TokenizerLock();
  const callable = Object.assign((text: string) => text.length, { vocab_size: 5 });
  const locked = lock.wrap(callable);
  assert.equal(await locked("abc"), 3);
  assert.equal(locked.vocab_size, 5);
  assert.equal(unlocked(locked), callable);
  const again = lock.wrap(lock.wrap(new SlowTokenizer()));
  assert.equal(await again.encode("no deadlock"), "NO DEADLOCK");
});

Deno.test("tokenizers are told from other things", () => {
  const function_ = Object.assign(() => [], { pad_token: "x" });
  for (const value of [clipL, new SlowTokenizer(), function_, new TokenizerLock().wrap(clipL)]) {
    assert.ok(isTokenizer(value));
  }
  const others = [null, 1, "tokenizer", {}, { encode: () => 0 }, new TextEncoder(), { vocab: 1 }];
  for (const value of [...others, () => 0, new Map()]) assert.equal(isTokenizer(value), false);
});
