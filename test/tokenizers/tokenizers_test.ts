import assert from "node:assert/strict";
import { createClipTokenizer } from "../../src/tokenizers/clip.ts";
import { createT5Tokenizer } from "../../src/tokenizers/t5.ts";
import { createCharsMap } from "../../src/tokenizers/chars_map.ts";
import type { Tokenizer } from "../../src/tokenizers/tokenizer.ts";
import hostile from "./hostile.json" with { type: "json" };
import { clipFiles, clipG, clipL, readGolden, readJson, t5, t5Files } from "./files.ts";

const encoders = { clip_l: clipL, clip_g: clipG, t5 };

Deno.test("ids equal the reference for every golden prompt", () => {
  const { prompts } = readJson("../golden/index.json").cases.tokens as { prompts: string[] };
  const golden = readGolden("tokens");
  assert.equal(prompts.length, 43);
  prompts.forEach((prompt, row) => {
    for (const [name, tokenizer] of [["ids_1", clipL], ["ids_2", clipG], ["ids_3", t5]] as const) {
      const expected = golden[name]!.data.slice(row * 24, row * 24 + 24);
      assert.deepEqual([...tokenizer.encode(prompt).ids], expected, `${name} of ${prompt}`);
    }
  });
});

Deno.test("ids equal the reference for hostile text", () => {
  for (const { text, ...expected } of hostile.rows) {
    for (const [name, tokenizer] of Object.entries(encoders)) {
      const ids = expected[name as keyof typeof expected];
      const encoded = tokenizer.encode(text, { maxLength: ids.length });
      assert.deepEqual([...encoded.ids], ids, `${name} of ${JSON.stringify(text)}`);
      assert.equal(encoded.removed, "");
    }
  }
});

Deno.test("text that does not fit is cut before the end token and reported", () => {
  const text = "a red circle on a blue background";
  for (const [name, tokenizer] of Object.entries(encoders)) {
    const whole = tokenizer.encode(text, { maxLength: 20 }).ids;
    const end = name === "t5" ? 1 : 2047;
    const { ids, removed } = tokenizer.encode(text, { maxLength: 6 });
    assert.deepEqual([...ids], [...whole.slice(0, 5), end], name);
    assert.ok(removed.length > 10 && text.endsWith(removed), `${name}: ${removed}`);
    assert.equal(tokenizer.encode(text, { maxLength: 20 }).removed, "", name);
  }
});

Deno.test("lengths and padding come from the config", () => {
  assert.equal(clipL.modelMaxLength, 24);
  assert.equal(clipL.encode("a").ids.length, 24);
  assert.equal(clipL.encode("a").ids.at(-1), 2047);
  assert.equal(clipG.encode("a").ids.at(-1), 0);
  const files = clipFiles("tokenizer");
  const other = createClipTokenizer({
    ...files,
    config: { ...files.config, model_max_length: 9, pad_token: { content: "!" } },
  });
  assert.deepEqual([...other.encode("").ids], [2046, 2047, 0, 0, 0, 0, 0, 0, 0]);
});

Deno.test("special tokens may come from special_tokens_map.json alone", () => {
  const files = clipFiles("tokenizer_2");
  const config = { model_max_length: 24 };
  const bare = createClipTokenizer({ ...files, config });
  for (const text of ["a cat!", "<|endoftext|> x"]) {
    assert.deepEqual(bare.encode(text), clipG.encode(text));
  }
  assert.throws(
    () => createClipTokenizer({ ...files, config, specialTokensMap: {} }),
    /has no bos_token/,
  );
});

Deno.test("without a limit of its own a tokenizer needs the caller's", () => {
  const files = t5Files();
  for (const limit of [1e30, 1000000000000000019884624838656, undefined, null]) {
    const unlimited = createT5Tokenizer({
      ...files,
      config: { ...files.config, model_max_length: limit },
    });
    assert.equal(unlimited.modelMaxLength, Infinity);
    assert.deepEqual(unlimited.encode("a cat", { maxLength: 24 }), t5.encode("a cat"));
    assert.throws(() => unlimited.encode("a cat"), RangeError);
  }
  for (const limit of [0, -1, "77", NaN]) {
    const config = { ...files.config, model_max_length: limit };
    assert.throws(() => createT5Tokenizer({ ...files, config }), /model_max_length/);
  }
});

Deno.test("a length that cannot hold the special tokens is refused", () => {
  for (const maxLength of [1, 0, -3, 2.5, NaN]) {
    assert.throws(() => clipL.encode("a", { maxLength }), RangeError);
  }
  assert.throws(() => t5.encode("a", { maxLength: 0 }), RangeError);
  assert.deepEqual([...t5.encode("a", { maxLength: 1 }).ids], [1]);
});

Deno.test("lone surrogates count as U+FFFD", () => {
  for (const [name, tokenizer] of Object.entries(encoders)) {
    const broken = tokenizer.encode("a \ud83d cat \udc31");
    assert.deepEqual(broken, tokenizer.encode("a \ufffd cat \ufffd"), name);
  }
});

Deno.test("very long prompts take time in proportion", () => {
  const texts = ["a", "日", "!", "\u0301", " ", "\ud800", "word ", "<|endoftext|>", "a1 ?\0"];
  for (const part of texts) {
    const text = part.repeat(Math.ceil(100_000 / part.length));
    for (const [name, tokenizer] of Object.entries(encoders)) {
      const start = performance.now();
      const { ids } = tokenizer.encode(text);
      const label = `${name} of many ${JSON.stringify(part)}`;
      assert.ok(performance.now() - start < 10_000, `${label} took too long`);
      const short = tokenizer.encode(part.repeat(600)).ids;
      assert.deepEqual([...ids.slice(0, 12)], [...short.slice(0, 12)], label);
    }
  }
});

Deno.test("one word of a million letters neither overflows the stack nor hangs", () => {
  let state = 1;
  const letters = Array.from({ length: 1_000_000 }, () => {
    state = (state * 48271) % 2147483647;
    return String.fromCharCode(97 + state % 26);
  }).join("");
  const beginning = t5.encode(letters.slice(0, 1000)).ids;
  assert.deepEqual(t5.encode(letters).ids, beginning);
});

Deno.test("damaged files are refused", () => {
  assert.throws(() => createCharsMap(btoa("\xff\xff\x00\x00abcd")), /damaged/);
  assert.throws(() => createT5Tokenizer({ ...t5Files(), config: {} }), /no eos_token/);
  const files = clipFiles("tokenizer");
  assert.throws(() =>
    createClipTokenizer({
      ...files,
      vocab: {},
      config: {
        ...files.config,
        added_tokens_decoder: {},
      },
    }), /vocab.json has no bos_token/);
});

Deno.test("concurrent use of one tokenizer gives each caller its own ids", async () => {
  const encode = async (tokenizer: Tokenizer, text: string) => {
    await Promise.resolve();
    return [...tokenizer.encode(text).ids];
  };
  const texts = Array.from({ length: 30 }, (_, i) => `a cat number ${i}`);
  const together = await Promise.all(texts.map((text) => encode(clipL, text)));
  assert.deepEqual(together, texts.map((text) => [...clipL.encode(text).ids]));
});
