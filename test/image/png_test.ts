import assert from "node:assert/strict";
import { inflateSync } from "node:zlib";
import fc from "fast-check";
import { decodePng, encodePng } from "../../src/image/png.ts";

function noise(width: number, height: number, seed: number) {
  const data = new Uint8Array(width * height * 3);
  let state = seed;
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    data[i] = state >>> 24;
  }
  return { width, height, data };
}

/** Names of the chunks in order. */
function chunkNames(png: Uint8Array): string[] {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  const names: string[] = [];
  for (let at = 8; at < png.length; at += view.getUint32(at) + 12) {
    names.push(String.fromCharCode(...png.subarray(at + 4, at + 8)));
  }
  return names;
}

for (const [width, height] of [[1, 1], [1, 7], [13, 1], [17, 5], [128, 96]] as const) {
  Deno.test(`PNG round trip ${width}x${height}`, () => {
    const image = noise(width, height, width * 1000 + height);
    const png = encodePng(image);
    const read = decodePng(png);
    assert.deepEqual([read.width, read.height], [width, height]);
    assert.deepEqual(read.data, image.data);
    assert.deepEqual(read.text, {});
    assert.deepEqual(chunkNames(png), ["IHDR", "IDAT", "IEND"]);
    // Depth 8, colour type 2: no alpha.
    assert.deepEqual([...png.subarray(24, 26)], [8, 2]);
    assert.deepEqual(encodePng(image), png, "not deterministic");
  });
}

Deno.test("the pixel rows lie in the file as the format says", () => {
  const data = Uint8Array.of(255, 0, 0, 0, 255, 0, 0, 0, 255, 1, 2, 3);
  const png = encodePng({ width: 2, height: 2, data });
  const view = new DataView(png.buffer);
  assert.deepEqual([view.getUint32(16), view.getUint32(20)], [2, 2]);
  const rows = inflateSync(png.subarray(41, 41 + view.getUint32(33)));
  assert.equal(rows.length, 2 * (1 + 6));
});

Deno.test("text: Latin-1 as tEXt, all else as iTXt, in front of the pixels", () => {
  const text = { parameters: "ein Würfel\nsteps: 28", Title: "日本語 😀", Empty: "" };
  const png = encodePng(noise(3, 3, 1), text);
  assert.deepEqual(chunkNames(png), ["IHDR", "tEXt", "iTXt", "tEXt", "IDAT", "IEND"]);
  assert.deepEqual(decodePng(png).text, text);
});

Deno.test("any text survives", () => {
  const image = noise(2, 2, 3);
  const content = fc.string({ unit: "binary", maxLength: 200 })
    .filter((s) => s.isWellFormed() && !s.includes("\0"));
  fc.assert(fc.property(content, (parameters) => {
    assert.deepEqual(decodePng(encodePng(image, { parameters })).text, { parameters });
  }));
});

Deno.test("what does not fit together is refused", () => {
  const image = noise(2, 2, 3);
  assert.throws(() => encodePng({ ...image, width: 3 }), RangeError);
  assert.throws(() => encodePng({ ...image, width: 0, data: new Uint8Array() }), RangeError);
  for (const keyword of ["", " a", "a ", "a  b", "a\0", "日", "x".repeat(80)]) {
    assert.throws(() => encodePng(image, { [keyword]: "" }), RangeError, keyword);
  }
});

Deno.test("damaged files are refused", () => {
  const png = encodePng(noise(9, 9, 5), { parameters: "a" });
  assert.throws(() => decodePng(new Uint8Array(0)), /Not a readable PNG/);
  assert.throws(() => decodePng(png.subarray(0, 60)), /Not a readable PNG/);
  for (let at = 0; at < png.length - 12; at += 7) {
    const bad = png.slice();
    bad[at]! ^= 0x10;
    assert.throws(() => decodePng(bad), /Not a readable PNG/, `byte ${at}`);
  }
});
