/** Who may share memory: nobody whose lifetimes touch. */
import assert from "node:assert/strict";
import { Lifetime, takingTurns } from "../../src/gpu/lifetime.ts";
import { random } from "../gpu.ts";

function used(...commands: readonly (readonly [index: number, isWritten: boolean])[]): Lifetime {
  const life = new Lifetime();
  for (const [index, isWritten] of commands) life.use(index, isWritten);
  return life;
}
const [reads, writes] = [false, true];
const span = ({ first, last }: Lifetime) => [first, last];

Deno.test("a lifetime reaches from the first write to the last read", () => {
  assert.deepEqual(span(used([2, writes], [4, reads], [7, reads])), [2, 7]);
  assert.deepEqual(span(used([2, writes], [4, writes], [7, reads])), [2, 7]);
});

Deno.test("what is read first was there before, what is written last is there afterwards", () => {
  assert.deepEqual(span(used([2, reads], [4, reads])), [-Infinity, 4]);
  assert.deepEqual(span(used([2, writes], [4, reads], [5, writes])), [2, Infinity]);
  assert.deepEqual(span(used()), [-Infinity, Infinity]);
  const kept = used([2, writes], [4, reads]);
  kept.keep();
  assert.deepEqual(span(kept), [2, Infinity]);
});

Deno.test("a command does not write to what it reads from: one use after the other at the earliest", () => {
  const life = used([1, writes], [3, reads]);
  assert.ok(life.gapTo(used([3, writes], [5, reads])) <= 0);
  assert.ok(life.gapTo(used([4, writes], [5, reads])) > 0);
  assert.ok(used().gapTo(life) <= 0);
});

Deno.test("of a hundred lifetimes no two that touch share, and no group's first is too small", () => {
  const numbers = random(300, 7, 1).map(Math.abs);
  const items = Array.from({ length: 100 }, (_, i) => {
    const first = Math.floor(100 * numbers[3 * i]!);
    const last = first + 1 + Math.floor(20 * numbers[3 * i + 1]!);
    return {
      life: used([first, writes], [last, reads]),
      size: Math.floor(1e6 * numbers[3 * i + 2]!),
    };
  }).sort((a, b) => b.size - a.size);
  const groups = takingTurns(items);
  assert.deepEqual(new Set(groups.flat()), new Set(items));
  for (const group of groups) {
    assert.equal(group[0]!.size, Math.max(...group.map(({ size }) => size)));
    for (const [i, { life }] of group.entries()) {
      for (const other of group.slice(i + 1)) assert.ok(life.gapTo(other.life) > 0);
    }
  }
  const atOnce = (command: number) =>
    items.filter(({ life }) => life.first <= command && command <= life.last).length;
  const fewest = Math.max(...Array.from({ length: 121 }, (_, command) => atOnce(command)));
  assert.ok(groups.length <= 1.5 * fewest, `${groups.length} groups for ${fewest} at once`);
});
