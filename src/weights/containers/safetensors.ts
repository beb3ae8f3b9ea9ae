/**
 * The safetensors format: 8 bytes with the header's length (little endian), a JSON header, the
 * tensors' bytes. Strict as the reference parser (huggingface/safetensors, `tensor.rs`): what is
 * accepted here has every byte of the file accounted for.
 */
import { elements } from "../../gpu/tensor.ts";
import { blocks, byteLength, type ElementType } from "../element_types.ts";
import { WeightsError } from "../errors.ts";
import { repeatedKeys } from "../repeated_keys.ts";
import type { FileSource } from "../source.ts";
import type { StoredTensor } from "../tensors.ts";

/** Its element types, which the loader calls the same. */
const types = (Object.keys(blocks) as ElementType[]).filter((type) => blocks[type].values === 1);

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

export const safetensors = {
  ending: ".safetensors",
  async open(source: FileSource, path: string): Promise<ReadonlyMap<string, StoredTensor>> {
    const size = await source.size(path);
    const prefix = await source.read(path, 0, Math.min(prefixBytes, size));
    const length = readHeaderLength(prefix, size, path);
    const json = await source.read(path, prefixBytes, prefixBytes + length);
    return parseHeader(json, size, path).tensors;
  },
};

/** Bytes before the JSON header. */
export const prefixBytes = 8;

/** As in the reference parser. */
const maxHeaderBytes = 100_000_000;

/**
 * Length of the JSON header out of a file's first 8 bytes.
 * @throws {WeightsError} naming `file`
 */
export function readHeaderLength(prefix: Uint8Array, fileSize: number, file: string): number {
  if (prefix.length < prefixBytes || fileSize < prefixBytes) {
    throw corrupt(file, [`${fileSize} bytes are too few for a safetensors file`]);
  }
  const view = new DataView(prefix.buffer, prefix.byteOffset, prefixBytes);
  const length = view.getBigUint64(0, true);
  if (length > maxHeaderBytes) {
    throw corrupt(file, [`its header would have ${length} bytes; not a safetensors file`]);
  }
  if (prefixBytes + Number(length) > fileSize) {
    throw corrupt(file, [
      `its header has ${length} bytes, the whole file ${fileSize}; the file is cut short`,
    ]);
  }
  return Number(length);
}

/**
 * Parses and validates a header.
 * @param json the header's bytes, without the 8 that precede it
 * @param fileSize bytes of the whole file, which the tensors must fill without gap or overlap
 * @throws {WeightsError} listing everything wrong with `file`
 */
export function parseHeader(json: Uint8Array, fileSize: number, file: string): SafetensorsHeader {
  const header = parseJson(json, file);
  const dataStart = prefixBytes + json.length;
  const problems: string[] = [];
  const tensors = new Map<string, StoredTensor>();
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(header)) {
    if (name === "__metadata__") {
      if (isRecord(value) && Object.values(value).every((v) => typeof v === "string")) {
        metadata = value as Record<string, string>;
      } else problems.push("__metadata__ does not map strings to strings");
      continue;
    }
    const tensor = parseEntry(value, dataStart, file);
    if (typeof tensor === "string") problems.push(`${quote(name)}: ${tensor}`);
    else tensors.set(name, tensor);
  }
  if (problems.length === 0) checkCoverage(tensors, dataStart, fileSize, problems);
  if (problems.length > 0) throw corrupt(file, problems);
  return { tensors, metadata };
}

function parseJson(json: Uint8Array, file: string): Record<string, unknown> {
  let text: string;
  let header: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(json);
    header = JSON.parse(text);
  } catch {
    throw corrupt(file, ["its header is not valid JSON in UTF-8"]);
  }
  if (!isRecord(header) || !text.startsWith("{")) {
    throw corrupt(file, ["its header is not a JSON object"]);
  }
  const repeated = repeatedKeys(text);
  if (repeated.length > 0) {
    throw corrupt(file, repeated.map((key) => `its header has ${quote(key)} more than once`));
  }
  return header;
}

/** The tensor, or what is wrong with its entry. */
function parseEntry(value: unknown, dataStart: number, file: string): StoredTensor | string {
  if (!isRecord(value)) return "is not an object";
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== "string") return "has no dtype";
  const type = types.find((name) => name === dtype);
  if (!type) return `has dtype ${quote(dtype)}; known are ${types.join(", ")}`;
  if (!Array.isArray(shape) || !shape.every(isCount)) return "has no valid shape";
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    return "has no valid data_offsets";
  }
  const [start, end] = offsets as [number, number];
  const bytes = byteLength(type, elements(shape));
  if (end - start !== bytes) {
    return `[${shape}] of ${dtype} takes ${bytes} bytes, its data_offsets span ${end - start}`;
  }
  return { type, shape, ranges: [{ file, start: dataStart + start, end: dataStart + end }] };
}

function checkCoverage(
  tensors: ReadonlyMap<string, StoredTensor>,
  dataStart: number,
  fileSize: number,
  problems: string[],
): void {
  const inOrder = [...tensors].map(([name, { ranges }]) => ({ name, ...ranges[0]! }))
    .sort((a, b) => a.start - b.start || a.end - b.end);
  let position = dataStart;
  for (const { name, start, end } of inOrder) {
    if (start !== position) {
      problems.push(
        `${quote(name)}: starts at byte ${start}, ${
          start < position ? "inside" : "after a gap behind"
        } the tensor that ends at ${position}`,
      );
    }
    position = Math.max(position, end);
  }
  if (position !== fileSize) {
    problems.push(
      fileSize < position
        ? `its tensors need ${position} bytes, the file has ${fileSize}; it is cut short`
        : `its tensors end at byte ${position}, the file has ${fileSize}`,
    );
  }
}

function corrupt(file: string, problems: readonly string[]): WeightsError {
  return new WeightsError(file, { corrupt: problems.map((problem) => `${file}: ${problem}`) });
}

/** Names come from the file: shown escaped and not at any length. */
function quote(name: string): string {
  return JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}...` : name);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
