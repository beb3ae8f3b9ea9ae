/** Small safetensors files and sources for the tests of src/weights. */
import { blobSource } from "../../src/weights/blob_source.ts";
import { type Checkpoint, openFile } from "../../src/weights/checkpoint.ts";
import { byteLength, type ElementType } from "../../src/weights/element_types.ts";
import type { FileSource } from "../../src/weights/source.ts";

export interface MadeTensor {
  readonly name: string;
  readonly dtype: ElementType;
  readonly shape: readonly number[];
  /** Little-endian elements; zeros if absent. */
  readonly bytes?: Uint8Array<ArrayBuffer>;
}

/** A header of any content in front of `data`. */
export function withHeader(header: unknown, data = new Uint8Array(0)): Uint8Array<ArrayBuffer> {
  const text = typeof header === "string" ? header : JSON.stringify(header);
  const json = new TextEncoder().encode(text);
  const file = new Uint8Array(8 + json.length + data.length);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  file.set(data, 8 + json.length);
  return file;
}

/** A valid file with these tensors in this order. */
export function safetensors(tensors: readonly MadeTensor[]): Uint8Array<ArrayBuffer> {
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    const values = shape.reduce((product, extent) => product * extent, 1);
    const size = byteLength(dtype, values);
    header[name] = { dtype, shape, data_offsets: [at, at + size] };
    parts.push(bytes ?? new Uint8Array(size));
    at += size;
  }
  const data = new Uint8Array(at);
  at = 0;
  for (const part of parts) {
    data.set(part, at);
    at += part.length;
  }
  return withHeader(header, data);
}

export function source(files: Record<string, Uint8Array<ArrayBuffer> | string>): FileSource {
  return blobSource(
    "memory",
    new Map(Object.entries(files).map(([path, content]) => [path, new Blob([content])])),
  );
}

export function checkpointOf(tensors: readonly MadeTensor[]): Promise<Checkpoint> {
  return openFile(source({ "model.safetensors": safetensors(tensors) }), "model.safetensors");
}

/** Elements of a typed array as bytes. */
export function bytesOf(array: ArrayBufferView<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
