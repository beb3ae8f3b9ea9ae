/** Requests start when their memory is free, in the order they came, and never hang. */
import assert from "node:assert/strict";
import { Admission, type AdmissionOptions } from "../../src/engine/admission.ts";
import { BusyError, InvalidRequestError } from "../../src/requests/errors.ts";
import type { ProgressEvent } from "../../src/engine/types.ts";

const open = (options: Partial<AdmissionOptions> = {}) =>
  new Admission({ budget: 100, maxWaiting: 2, ...options });
const need = (share: number, base = 40) => ({ base: () => base, share });
const tick = () => new Promise((resolve) => setTimeout(resolve, 0));

/** Whether a promise has settled by now. */
async function isPending(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  promise.then(() => settled = true, () => settled = true);
  await tick();
  return !settled;
}

Deno.test("over budget requests wait in line and hear their position", async () => {
  const admission = open();
  const leaveA = await admission.admit(need(50));
  const heard: ProgressEvent[] = [];
  const b = admission.admit(need(30), { onProgress: (event) => heard.push(event) });
  // It would fit, but it came later.
  const c = admission.admit(need(10), { onProgress: (event) => heard.push(event) });
  assert.ok(await isPending(c));
  assert.equal(admission.waiting, 2);
  leaveA();
  leaveA();
  const leaves = await Promise.all([b, c]);
  assert.equal(admission.reserved, 40);
  for (const leave of leaves) leave();
  assert.equal(admission.reserved, 0);
  assert.deepEqual(heard, [
    { type: "queued", position: 1 },
    { type: "queued", position: 2 },
  ]);
});

Deno.test("positions move up", async () => {
  const admission = open();
  const leaveA = await admission.admit(need(60));
  const positions: number[] = [];
  const b = admission.admit(need(60));
  const c = admission.admit(need(60), {
    onProgress: (event) => event.type === "queued" && positions.push(event.position),
  });
  leaveA();
  (await b)();
  (await c)();
  assert.deepEqual(positions, [2, 1]);
});

Deno.test("past the bound requests are refused as busy", async () => {
  const admission = open({ maxWaiting: 1 });
  const leave = await admission.admit(need(60));
  const waiting = admission.admit(need(60));
  await assert.rejects(admission.admit(need(1)), BusyError);
  leave();
  (await waiting)();
});

Deno.test("an abort while waiting leaves the line to the others", async () => {
  const admission = open();
  const leave = await admission.admit(need(40));
  const stop = new AbortController();
  const large = admission.admit(need(60), { signal: stop.signal });
  const small = admission.admit(need(10));
  assert.ok(await isPending(small));
  stop.abort(new Error("gave up"));
  await assert.rejects(large, /gave up/);
  (await small)();
  leave();
  await assert.rejects(admission.admit(need(1), { signal: stop.signal }), /gave up/);
  assert.deepEqual([admission.waiting, admission.reserved], [0, 0]);
});

Deno.test("what can never fit is refused at once", async () => {
  const admission = open();
  await assert.rejects(admission.admit(need(61)), InvalidRequestError);
  assert.equal(admission.reserved, 0);
});

Deno.test("what can no longer fit when its turn comes is refused instead of waiting for ever", async () => {
  const admission = open();
  let base = 40;
  const growing = { base: () => base, share: 50 };
  const leave = await admission.admit(growing);
  const late = admission.admit(growing);
  const next = admission.admit({ base: () => base, share: 5 });
  base = 60;
  leave();
  await assert.rejects(late, InvalidRequestError);
  (await next)();
});

Deno.test("idle embeddings make room, no more than needed", async () => {
  let idle = 30;
  const admission = open({ idleBytes: () => idle, trim: (bytes) => idle -= bytes });
  (await admission.admit(need(30)))();
  assert.equal(idle, 30);
  const leave = await admission.admit(need(50));
  assert.equal(idle, 10);
  leave();
});

Deno.test("what happens on admission happens before the next is considered", async () => {
  const admission = open();
  let base = 0;
  const first = { base: () => base, share: 10, onAdmitted: () => base = 80 };
  const [leaveA, b] = [
    await admission.admit(first),
    admission.admit({ base: () => base, share: 15 }),
  ];
  assert.ok(await isPending(b));
  leaveA();
  (await b)();
});

Deno.test("a listener that throws ends its own request only", async () => {
  const admission = open();
  const leave = await admission.admit(need(60));
  const bad = admission.admit(need(60), {
    onProgress: () => {
      throw new Error("listener failed");
    },
  });
  await assert.rejects(bad, /listener failed/);
  const good = admission.admit(need(60));
  leave();
  (await good)();
});

Deno.test("closing refuses those who wait and those who come", async () => {
  const admission = open();
  await admission.admit(need(60));
  const waiting = admission.admit(need(60));
  admission.close(new BusyError("closing"));
  await assert.rejects(waiting, /closing/);
  await assert.rejects(admission.admit(need(1)), /closing/);
});
