import assert from "node:assert/strict";
import fc from "fast-check";
import { WeightsError } from "../../src/weights/errors.ts";
import {
  parseHeader,
  prefixBytes,
  readHeaderLength,
} from "../../src/weights/containers/safetensors.ts";
import { safetensors, withHeader } from "./make.ts";

function parse(file: Uint8Array, fileSize = file.length) {
  const length = readHeaderLength(file.subarray(0, 8), fileSize, "f");
  return parseHeader(file.subarray(prefixBytes, prefixBytes + length), fileSize, "f");
}

const good = safetensors([
  { name: "a", dtype: "F16", shape: [2, 3] },
  { name: "b", dtype: "F8_E4M3", shape: [] },
  { name: "c", dtype: "F64", shape: [0, 5] },
  { name: "d", dtype: "BF16", shape: [7] },
]);

Deno.test("a valid header: names, types, shapes, offsets in the file, metadata", () => {
  const { tensors, metadata } = parse(good);
  const data = good.length - 27;
  const at = (start: number, end: number) => [{ file: "f", start: data + start, end: data + end }];
  assert.deepEqual(metadata, { format: "pt" });
  assert.deepEqual([...tensors], [
    ["a", { type: "F16", shape: [2, 3], ranges: at(0, 12) }],
    ["b", { type: "F8_E4M3", shape: [], ranges: at(12, 13) }],
    ["c", { type: "F64", shape: [0, 5], ranges: at(13, 13) }],
    ["d", { type: "BF16", shape: [7], ranges: at(13, 27) }],
  ]);
});

Deno.test("order in the header and trailing blanks do not matter", () => {
  const entry = (from: number) => ({ dtype: "U8", shape: [4], data_offsets: [from, from + 4] });
  const text = JSON.stringify({ z: entry(4), y: entry(0) }) + "     ";
  assert.equal(parse(withHeader(text, new Uint8Array(8))).tensors.size, 2);
  assert.equal(parse(withHeader("{}")).tensors.size, 0);
});

const f32 = (from: number, to: number, shape: unknown = [1]) => ({
  dtype: "F32",
  shape,
  data_offsets: [from, to],
});
const four = new Uint8Array(4);
const eight = new Uint8Array(8);
const refused: [string, Uint8Array, RegExp][] = [
  ["an empty file", new Uint8Array(0), /too few/],
  ["seven bytes", new Uint8Array(7), /too few/],
  ["a header length beyond the file", good.slice(0, 40), /cut short/],
  ["a huge header length", new Uint8Array(16).fill(255), /not a safetensors file/],
  ["no header", new Uint8Array(8), /not valid JSON/],
  ["text", withHeader("hello"), /not valid JSON/],
  ["broken UTF-8", withHeader('{"\0": 1}').map((b) => b === 0x22 ? 0xff : b), /not valid JSON/],
  ["deep nesting", withHeader("[".repeat(200_000)), /not valid JSON/],
  ["an array", withHeader([]), /not a JSON object/],
  ["null", withHeader("null"), /not a JSON object/],
  ["a leading blank", withHeader(" {}"), /not a JSON object/],
  ["an entry that is no object", withHeader({ a: 3 }), /is not an object/],
  ["no dtype", withHeader({ a: { shape: [1], data_offsets: [0, 4] } }, four), /no dtype/],
  [
    "an unknown dtype",
    withHeader({ a: { dtype: "F4", shape: [1], data_offsets: [0, 4] } }, four),
    /dtype "F4"; known are F64/,
  ],
  [
    "a dtype of Object's own",
    withHeader({ a: { dtype: "toString", shape: [1], data_offsets: [0, 4] } }, four),
    /dtype "toString"/,
  ],
  ["a negative extent", withHeader({ a: f32(0, 4, [-1]) }, four), /no valid shape/],
  ["a fractional extent", withHeader({ a: f32(0, 4, [0.5, 2]) }, four), /no valid shape/],
  ["an extent as text", withHeader({ a: f32(0, 4, ["1"]) }, four), /no valid shape/],
  ["no shape", withHeader({ a: f32(0, 4, null) }, four), /no valid shape/],
  ["an overflowing shape", withHeader({ a: f32(0, 4, Array(99).fill(2 ** 40)) }, four), /takes/],
  ["a negative offset", withHeader({ a: f32(-4, 0) }, four), /no valid data_offsets/],
  ["one offset", withHeader({ a: { ...f32(0, 4), data_offsets: [4] } }, four), /data_offsets/],
  ["reversed offsets", withHeader({ a: f32(4, 0) }, four), /takes 4 bytes/],
  ["a range of another size", withHeader({ a: f32(0, 8) }, eight), /takes 4 bytes/],
  ["overlap", withHeader({ a: f32(0, 4), b: f32(0, 4) }, four), /inside the tensor/],
  ["a gap", withHeader({ a: f32(0, 4), b: f32(8, 12) }, new Uint8Array(12)), /after a gap/],
  ["a missing last byte", good.slice(0, -1), /cut short/],
  ["bytes behind the last tensor", withHeader({ a: f32(0, 4) }, eight), /end at byte/],
  [
    "a repeated name",
    withHeader(`{"a":${JSON.stringify(f32(0, 4))},"\\u0061":${JSON.stringify(f32(0, 4))}}`, four),
    /"a" more than once/,
  ],
  [
    "a repeated key inside an entry",
    withHeader('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', four),
    /"dtype" more than once/,
  ],
  ["metadata that is no object", withHeader({ __metadata__: 1 }), /__metadata__/],
  ["metadata with a number", withHeader({ __metadata__: { a: 1 } }), /__metadata__/],
];

for (const [what, file, message] of refused) {
  Deno.test(`refused: ${what}`, () => {
    assert.throws(
      () => parse(file),
      (error) => error instanceof WeightsError && message.test(error.message),
    );
  });
}

Deno.test("everything wrong with the entries is listed", () => {
  const file = withHeader({ a: f32(0, 8), b: 3, c: { ...f32(0, 4), dtype: "X" } }, eight);
  assert.throws(() => parse(file), (error) => {
    assert.ok(error instanceof WeightsError);
    assert.equal(error.problems.corrupt?.length, 3);
    return true;
  });
});

Deno.test("strings that look like structure do not confuse the search for repeated keys", () => {
  const text = '{"__metadata__":{"a":"{\\"a\\":1,\\"a\\":2}","b":"\\\\","c":"\\",\\"b\\":"}}';
  assert.equal(parse(withHeader(text)).metadata.b, "\\");
});

Deno.test("random damage is a WeightsError or no damage, never anything else", () => {
  const length = Number(new DataView(good.buffer).getBigUint64(0, true));
  const damage = fc.array(
    fc.tuple(fc.nat(8 + length - 1), fc.integer({ min: 0, max: 255 })),
    { minLength: 1, maxLength: 6 },
  );
  fc.assert(
    fc.property(damage, fc.option(fc.nat(good.length)), (bytes, cut) => {
      const file = good.slice(0, cut ?? good.length);
      for (const [at, value] of bytes) if (at < file.length) file[at] = value;
      try {
        const { tensors } = parse(file);
        for (const { start, end } of [...tensors.values()].flatMap(({ ranges }) => ranges)) {
          assert.ok(start >= 8 && start <= end && end <= file.length);
        }
      } catch (error) {
        assert.ok(error instanceof WeightsError, String(error));
      }
    }),
    { numRuns: 3000 },
  );
});

Deno.test("random JSON as header is a WeightsError or valid", () => {
  const entry = fc.record({
    dtype: fc.constantFrom("F32", "F16", "U8", 7, "??"),
    shape: fc.oneof(fc.array(fc.integer({ min: -1, max: 5 }), { maxLength: 3 }), fc.jsonValue()),
    data_offsets: fc.array(fc.integer({ min: -1, max: 20 }), { maxLength: 3 }),
  }, { requiredKeys: [] });
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), fc.oneof(entry, fc.jsonValue())),
      fc.nat(40),
      (header, bytes) => {
        try {
          parse(withHeader(header, new Uint8Array(bytes)));
        } catch (error) {
          assert.ok(error instanceof WeightsError, String(error));
        }
      },
    ),
    { numRuns: 1000 },
  );
});
