/**
 * Text chunks of PNG files, beside the pixels (`parameters` by custom). Works on files of any
 * encoder. https://www.w3.org/TR/png-3/#11textinfo
 */
import crc32 from "crc-32";

/** Signature and IHDR chunk: text goes right behind them, where readers look first. */
const headBytes = 8 + 25;
/** 1 to 79 printable Latin-1 characters, no space at either end. */
const keywordPattern = /^[\x21-\x7e\xa1-\xff](?:[\x20-\x7e\xa1-\xff]{0,77}[\x21-\x7e\xa1-\xff])?$/;

/** Text chunks by keyword. */
export type PngText = Readonly<Record<string, string>>;

/**
 * The file with text put in.
 * @param text becomes tEXt chunks where Latin-1 holds it, else iTXt in UTF-8
 * @throws {RangeError} if a keyword is not one
 */
export function addPngText(png: Uint8Array, text: PngText): Uint8Array<ArrayBuffer> {
  const chunks = Object.entries(text).map(([keyword, value]) => textChunk(keyword, value));
  return concat([png.subarray(0, headBytes), ...chunks, png.subarray(headBytes)]);
}

function textChunk(keyword: string, value: string): Uint8Array {
  if (!keywordPattern.test(keyword) || keyword.includes("  ")) {
    throw new RangeError(`${JSON.stringify(keyword)} is not a PNG keyword`);
  }
  // NUL ends a field in either chunk and cannot be in the text.
  const body = value.replaceAll("\0", "");
  return /^[\n\x20-\x7e\xa0-\xff]*$/.test(body)
    ? chunk("tEXt", latin1(`${keyword}\0${body}`))
    // Not compressed, no language, no translated keyword.
    : chunk("iTXt", concat([latin1(`${keyword}\0\0\0\0\0`), new TextEncoder().encode(body)]));
}

function chunk(type: string, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(data.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(latin1(type), 4);
  bytes.set(data, 8);
  view.setInt32(data.length + 8, crc32.buf(bytes.subarray(4, data.length + 8)));
  return bytes;
}

/**
 * Uncompressed text chunks of a file whose chunks' lengths are known to be sound; the checksums of
 * text chunks are not looked at.
 */
export function readPngText(bytes: Uint8Array): PngText {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text: Record<string, string> = {};
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    const type = fromLatin1(bytes.subarray(at + 4, at + 8));
    const data = bytes.subarray(at + 8, at + 8 + length);
    if (view.getInt32(at + 8 + length) !== crc32.buf(bytes.subarray(at + 4, at + 8 + length))) {
      throw new Error(`Not a readable PNG: the checksum of its ${type} chunk is wrong`);
    }
    const end = data.indexOf(0);
    const keyword = fromLatin1(data.subarray(0, Math.max(0, end)));
    if (end > 0 && type === "tEXt") text[keyword] = fromLatin1(data.subarray(end + 1));
    if (end > 0 && type === "iTXt" && data[end + 1] === 0) {
      // Behind the two bytes about compression: the language and the translated keyword.
      const language = data.indexOf(0, end + 3);
      const translated = data.indexOf(0, language + 1);
      text[keyword] = new TextDecoder().decode(data.subarray(translated + 1));
    }
    if (type === "IEND") break;
    at += length + 12;
  }
  return text;
}

function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function fromLatin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
