import assert from "node:assert/strict";
import { attention } from "../../src/ops/attention.ts";
import {
  type AttentionVariant,
  attentionVariants,
} from "../../src/ops/support/attention_options.ts";
import { assertClose, gpu, input, random, run } from "../gpu.ts";
import { attention as reference } from "../reference/attention.ts";
import { tolerance } from "../tolerance.ts";

interface Case {
  readonly tokens: readonly number[];
  readonly batch?: number;
  readonly heads: number;
  readonly headDim: number;
  readonly causal?: boolean;
  readonly bias?: boolean;
  /** Scores reach about its square: large ones make a softmax with one winner. */
  readonly size?: number;
  /** Default: all. */
  readonly variants?: readonly AttentionVariant[];
}

function makeCase({ tokens, batch = 1, heads, headDim, bias, size = 2 }: Case) {
  const streams = tokens.map((count, i) => ({
    tokens: count,
    qkv: random(batch * count * 3 * heads * headDim, 10 + i, size),
  }));
  const relativeBias = bias ? random(heads * (2 * tokens[0]! - 1), 20, 3) : undefined;
  return { streams, relativeBias };
}

async function runCase(
  c: Case,
  { streams, relativeBias }: ReturnType<typeof makeCase>,
  variant?: AttentionVariant,
) {
  const { batch = 1, heads, headDim } = c;
  const width = heads * headDim;
  const tensors = streams.map(({ qkv, tokens }) => input(qkv, [batch, tokens, 3 * width]));
  const bias = relativeBias && input(relativeBias, [heads, 2 * c.tokens[0]! - 1]);
  const results: Float32Array[] = [];
  for (const i of streams.keys()) {
    results.push(
      await run((rec) =>
        attention(rec, {
          streams: tensors,
          heads,
          headDim,
          scale: headDim ** -0.5,
          ...(c.causal === undefined ? {} : { causal: c.causal }),
          relativeBias: bias,
          label: "test",
          variant,
        })[i]!
      ),
    );
  }
  gpu.destroyTensor(...tensors, ...(bias ? [bias] : []));
  return results;
}

const cases: Case[] = [
  { tokens: [1], heads: 1, headDim: 64 },
  { tokens: [1, 1], heads: 2, headDim: 64 },
  { tokens: [15], heads: 2, headDim: 64 },
  { tokens: [16], heads: 1, headDim: 64 },
  { tokens: [17, 16], heads: 2, headDim: 64 },
  { tokens: [63], heads: 1, headDim: 64 },
  { tokens: [64, 48], heads: 3, headDim: 64, batch: 2 },
  { tokens: [65, 7], heads: 1, headDim: 64 },
  { tokens: [127], heads: 1, headDim: 64 },
  { tokens: [128], heads: 1, headDim: 64 },
  { tokens: [129, 255], heads: 1, headDim: 64 },
  { tokens: [256, 154], heads: 2, headDim: 64 },
  { tokens: [333, 77], heads: 1, headDim: 64, batch: 3 },
  { tokens: [130, 60], heads: 2, headDim: 64, size: 12 },
  { tokens: [77], heads: 3, headDim: 64, causal: true, batch: 2 },
  { tokens: [1], heads: 1, headDim: 64, causal: true },
  { tokens: [130], heads: 1, headDim: 64, causal: true },
  { tokens: [48], heads: 4, headDim: 64, bias: true, batch: 2 },
  { tokens: [131], heads: 1, headDim: 64, bias: true },
  { tokens: [1], heads: 2, headDim: 64, bias: true },
  ...[4, 16, 32, 40, 80, 96, 128].map((headDim) => ({ tokens: [70, 33], heads: 2, headDim })),
  ...[4, 16, 32, 40, 80, 96, 128].map((headDim) => ({
    tokens: [37],
    heads: 2,
    headDim,
    causal: true,
  })),
  { tokens: [70, 33], heads: 4, headDim: 16 },
  { tokens: [70, 33], heads: 8, headDim: 40 },
  { tokens: [70, 33], heads: 4, headDim: 80 },
  { tokens: [37], heads: 4, headDim: 80, bias: true },
  // More samples than lie one below the other in one texture.
  { tokens: [1200, 20], heads: 4, headDim: 16, batch: 15, variants: ["texture"] },
  { tokens: [33, 5], heads: 3, headDim: 13 },
  { tokens: [20], heads: 2, headDim: 13, causal: true },
  { tokens: [20], heads: 2, headDim: 30, bias: true },
];

for (const c of cases) {
  Deno.test(`attention() equals its f64 reference: ${JSON.stringify(c)}`, async () => {
    const made = makeCase(c);
    const expected = reference({
      streams: made.streams,
      ...(made.relativeBias ? { relativeBias: made.relativeBias } : {}),
      batch: c.batch ?? 1,
      heads: c.heads,
      headDim: c.headDim,
      scale: c.headDim ** -0.5,
      causal: c.causal ?? false,
    });
    for (const variant of c.variants ?? attentionVariants) {
      for (const [i, actual] of (await runCase(c, made, variant)).entries()) {
        assertClose(actual, expected[i]!, tolerance.opTranscendental, `${variant}, stream ${i}`);
      }
    }
  });
}

const extras = [{}, { causal: true }, { bias: true }];
for (
  const [variant, extra] of attentionVariants.flatMap((v) => extras.map((e) => [v, e] as const))
) {
  Deno.test(`attention() gives a sample the same bits alone and in a batch: ${variant} ${JSON.stringify(extra)}`, async () => {
    const tokens = Object.keys(extra).length ? [70] : [70, 33];
    const c: Case = { tokens, batch: 3, heads: 2, headDim: 64, ...extra };
    const made = makeCase(c);
    const together = await runCase(c, made, variant);
    for (let sample = 0; sample < 3; sample++) {
      const part = (x: Float32Array<ArrayBuffer>) =>
        x.slice(sample * x.length / 3, (sample + 1) * x.length / 3);
      const alone = await runCase({ ...c, batch: 1 }, {
        ...made,
        streams: made.streams.map((stream) => ({ ...stream, qkv: part(stream.qkv) })),
      }, variant);
      for (const [i, x] of together.entries()) {
        const size = x.length / 3;
        assert.deepEqual(alone[i], x.slice(sample * size, (sample + 1) * size));
      }
    }
  });
}

Deno.test("attention() refuses what does not fit, by name", () => {
  const rec = gpu.record("test");
  const tensor = (shape: number[]) => gpu.createTensor(shape, "qkv", "other");
  const common = { heads: 2, headDim: 8, scale: 1, label: "test" };
  const a = tensor([2, 5, 48]);
  assert.throws(() => attention(rec, { ...common, streams: [] }), /one or two/);
  assert.throws(
    () => attention(rec, { ...common, streams: [tensor([2, 5, 40])] }),
    /\[2,5,40\], wanted \[2, S, 48\]/,
  );
  assert.throws(
    () => attention(rec, { ...common, streams: [a, tensor([1, 5, 48])] }),
    /\[1,5,48\], wanted \[2, S, 48\]/,
  );
  assert.throws(
    () => attention(rec, { ...common, streams: [a, a], causal: true }),
    /for one stream/,
  );
  assert.throws(
    () => attention(rec, { ...common, streams: [a], relativeBias: tensor([2, 8]) }),
    /wanted \[2, 9\]/,
  );
});
