import assert from "node:assert/strict";
import { add } from "../../src/ops/add.ts";
import { assertClose, gpu, input, random, run } from "../gpu.ts";
import { add as reference } from "../reference/add.ts";
import { tolerance } from "../tolerance.ts";

const label = "test";

for (const shape of [[1], [63], [257], [2, 3, 64], [3, 5, 7]]) {
  Deno.test(`add [${shape}]`, async () => {
    const count = shape.reduce((a, b) => a * b);
    const [x, into] = [random(count, 1), random(count, 2)];
    const actual = await run((rec) =>
      add(rec, { x: input(x, shape), into: input(into, shape), label })
    );
    assertClose(actual, reference(x, into), tolerance.op);
  });
}

for (const shape of [[1, 1, 4], [2, 63, 64], [3, 65, 68]] as const) {
  Deno.test(`add gated [${shape}]`, async () => {
    const [batch, tokens, channels] = shape;
    const count = batch * tokens * channels;
    const [x, into] = [random(count, 1), random(count, 2)];
    const stride = 6 * channels;
    const chunks = random(batch * stride, 3);
    const tensor = input(chunks, [batch, stride]);
    const offset = 2 * channels;
    const actual = await run((rec) =>
      add(rec, {
        x: input(x, [...shape]),
        into: input(into, [...shape]),
        gate: { tensor, offset, stride },
        label,
      })
    );
    const gate = (at: number) =>
      chunks[Math.floor(at / (tokens * channels)) * stride + offset + at % channels]!;
    assertClose(actual, reference(x, into, gate), tolerance.op);
  });
}

Deno.test("add gated: a sample does not depend on the batch around it", async () => {
  const [tokens, channels] = [9, 20];
  const size = tokens * channels;
  const [x, into, gates] = [random(3 * size, 1), random(3 * size, 2), random(3 * channels, 3)];
  const of = (from: number, to: number) => {
    const shape = [to - from, tokens, channels];
    const tensor = input(gates.slice(from * channels, to * channels), [to - from, channels]);
    return run((rec) =>
      add(rec, {
        x: input(x.slice(from * size, to * size), shape),
        into: input(into.slice(from * size, to * size), shape),
        gate: { tensor, offset: 0, stride: channels },
        label,
      })
    );
  };
  const together = await of(0, 3);
  for (const i of [0, 1, 2]) {
    assert.deepEqual(await of(i, i + 1), together.slice(i * size, (i + 1) * size));
  }
});

Deno.test("add names a misshapen tensor", () => {
  const rec = gpu.record("misshapen");
  const x = input(random(8), [1, 2, 4], "branch");
  const into = input(random(16), [2, 2, 4], "residual");
  assert.throws(() => add(rec, { x, into, label }), /x \(branch\) is f32 \[1,2,4\].*\[2,2,4\]/);
  const gate = { tensor: input(random(12), [2, 6], "adaln"), offset: 4, stride: 6 };
  assert.throws(() => add(rec, { x: into, into: into, gate, label }), /gate \(adaln\)/);
});
