/**
 * SentencePiece's precompiled character map (the `Precompiled` normaliser of tokenizer.json): a
 * double-array trie from UTF-8 byte sequences to their replacements. T5's is nmt_nfkc: NFKC, white
 * space to a blank, control characters dropped.
 *
 * Layout, little endian, in base64: u32 byte size of the trie; the trie's units (u32 each); the
 * replacements, NUL-terminated UTF-8. Source: sentencepiece `normalizer.cc`, huggingface `spm_precompiled`.
 */
export function createCharsMap(base64: string): (text: string) => string {
  const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const trieBytes = bytes.length >= 4 ? view.getUint32(0, true) : 0;
  if (trieBytes === 0 || trieBytes % 4 !== 0 || 4 + trieBytes > bytes.length) {
    throw new Error("tokenizer.json: precompiled_charsmap is damaged");
  }
  const units = new Uint32Array(trieBytes / 4);
  for (let i = 0; i < units.length; i++) units[i] = view.getUint32(4 + 4 * i, true);
  const replacements = bytes.subarray(4 + trieBytes);
  const encoder = new TextEncoder();
  const decoder = new TextDecoder();
  const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });

  /** Replacement of the shortest prefix of `key` in the trie; undefined if none is in it. */
  const lookUp = (key: Uint8Array): string | undefined => {
    let unit = units[0] ?? 0;
    let node = offsetOf(unit);
    for (const byte of key) {
      if (byte === 0) return undefined;
      node ^= byte;
      unit = units[node] ?? 0;
      if ((unit & 0x800000ff) >>> 0 !== byte) return undefined;
      node ^= offsetOf(unit);
      if ((unit >>> 8) & 1) {
        const start = (units[node] ?? 0) & 0x7fffffff;
        const end = replacements.indexOf(0, start);
        return decoder.decode(replacements.subarray(start, end < 0 ? replacements.length : end));
      }
    }
    return undefined;
  };

  const mapCharacter = memoized((char: string) => lookUp(encoder.encode(char)) ?? char);
  const mapGrapheme = memoized((grapheme: string): string => {
    const key = encoder.encode(grapheme);
    // A short grapheme is looked up whole first (for composed letters), as the reference does.
    const whole = key.length < 6 ? lookUp(key) : undefined;
    return whole ?? Array.from(grapheme, mapCharacter).join("");
  });
  return (text) => {
    let mapped = "";
    for (const { segment } of graphemes.segment(text)) {
      mapped += segment.length > 16
        ? Array.from(segment, mapCharacter).join("")
        : mapGrapheme(segment);
    }
    return mapped;
  };
}

/** Where the children of a double-array unit lie (darts-clone's layout). */
function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}

const memoEntries = 4096;

function memoized(map: (text: string) => string): (text: string) => string {
  const memo = new Map<string, string>();
  return (text) => {
    let mapped = memo.get(text);
    if (mapped === undefined) {
      mapped = map(text);
      if (memo.size >= memoEntries) memo.clear();
      memo.set(text, mapped);
    }
    return mapped;
  };
}
