/** Deficit round robin over groups: device time is shared evenly and nobody waits without bound. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { TurnOrder } from "../../src/denoise/turn_order.ts";

const seed = 20240611;

Deno.test("members of one group take turns, oldest first", () => {
  const order = new TurnOrder<string>();
  const placing = { key: "a", cost: 4, limit: () => 2 };
  for (const name of ["1", "2", "3"]) order.add(name, placing);
  const turns = [];
  for (let i = 0; i < 3; i++) {
    const turn = order.next()!;
    turns.push(turn.join(""));
    for (const name of turn) order.add(name, placing);
  }
  assert.deepEqual(turns, ["12", "31", "23"]);
});

Deno.test("an empty order has no turn; removed members have none", () => {
  const order = new TurnOrder<string>();
  assert.equal(order.next(), undefined);
  order.add("a", { key: "k", cost: 1, limit: () => 1 });
  order.add("b", { key: "k", cost: 1, limit: () => 1 });
  order.remove("a");
  assert.deepEqual([...order], ["b"]);
  assert.deepEqual(order.next(), ["b"]);
  assert.equal(order.next(), undefined);
});

for (const limit of [0, -1, NaN, 0.5]) {
  Deno.test(`a limit of ${limit} still lets one member go`, () => {
    const order = new TurnOrder<number>();
    order.add(1, { key: "k", cost: 1, limit: () => limit });
    order.add(2, { key: "k", cost: 1, limit: () => limit });
    assert.deepEqual(order.next(), [1]);
  });
}

Deno.test("groups that are always full share device time evenly, and none waits long", () => {
  const group = fc.record({
    cost: fc.integer({ min: 1, max: 500 }),
    members: fc.integer({ min: 1, max: 12 }),
    limit: fc.integer({ min: 1, max: 8 }),
  });
  fc.assert(
    fc.property(fc.array(group, { minLength: 2, maxLength: 6 }), (groups) => {
      const order = new TurnOrder<string>();
      const placing = (k: number) => ({
        key: `${k}`,
        cost: groups[k]!.cost,
        limit: () => groups[k]!.limit,
      });
      for (const [k, { members }] of groups.entries()) {
        for (let i = 0; i < members; i++) order.add(`${k}:${i}`, placing(k));
      }
      const costs = groups.map(({ cost, members, limit }) => cost * Math.min(members, limit));
      const spent = groups.map(() => 0);
      const waited = groups.map(() => 0);
      for (let turn = 0; turn < 2000; turn++) {
        const members = order.next()!;
        const k = Number(members[0]!.split(":")[0]);
        assert.ok(members.every((name) => name.startsWith(`${k}:`)));
        spent[k]! += costs[k]!;
        for (const [i] of groups.entries()) waited[i] = i === k ? 0 : waited[i]! + costs[k]!;
        // Between two of its turns the others run at most its own time once over, and a turn each.
        for (const [i, time] of waited.entries()) {
          const others = costs.filter((_, j) => j !== i);
          const bound = others.reduce((sum, cost) => sum + costs[i]! + 2 * cost, 0);
          assert.ok(time <= bound, `group ${i} waited ${time} of at most ${bound}`);
        }
        for (const name of members) order.add(name, placing(k));
      }
      const largest = Math.max(...costs);
      const spread = Math.max(...spent) - Math.min(...spent);
      assert.ok(spread <= 2 * largest, `device time differs by ${spread}, turns cost ${costs}`);
    }),
    { seed, numRuns: 60 },
  );
});

Deno.test("a stream of newcomers of one size does not starve another size", () => {
  const order = new TurnOrder<string>();
  const small = { key: "small", cost: 16, limit: () => 8 };
  const large = { key: "large", cost: 4096, limit: () => 8 };
  order.add("large", large);
  let turns = 0;
  let spent = 0;
  for (let i = 0; i < 8; i++) order.add("small", small);
  for (;;) {
    const turn = order.next()!;
    if (turn[0] === "large") break;
    turns++;
    spent += 16 * turn.length;
    // Those who ran come back, and more come with them.
    for (let i = 0; i <= turn.length; i++) order.add("small", small);
  }
  assert.ok(spent <= 4096 + 2 * 16 * 8, `${spent} spent on others in ${turns} turns`);
});
