/**
 * Writes a graph as `model.onnx`, its tensors inside or, above a size, beside it as external data.
 * Lengths are computed first, so that the bytes of tensors stream through without being collected.
 */
import {
  encodeGraph,
  encodeModelPrefix,
  encodeTensorHeader,
  type ExternalData,
  lengthDelimited,
  Writer,
} from "../proto.ts";
import type { FileSink, FileWriter } from "../../../weights/sink.ts";
import type { GraphBuilder } from "./graph.ts";
import type { Initializer } from "./weights.ts";
import { ExportError } from "../errors.ts";

export interface WriteOptions {
  /** Tensors go into external files where they are larger than this in sum; default 1 GiB. */
  readonly externalAbove?: number;
  /** Largest external file; default 1 GiB, since a runtime reads each into one array. */
  readonly externalFileBytes?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
}

const gib = 2 ** 30;
/** Small tensors stay in the model file: shape inference reads some of them. */
const externalMinimum = 1024;
/** `onnx.proto` wants offsets in multiples of a page so that files can be mapped. */
const pageBytes = 4096;
const producer = "stable-diffusion-webgpu";

interface External {
  readonly initializer: Initializer;
  readonly data: ExternalData;
}

/**
 * Writes `folder`/model.onnx and, where needed, `model.onnx_data`, `model.onnx_data_1`, ...
 * @returns the paths written
 * @throws {ExportError} where a tensor's bytes do not come as announced
 */
export async function writeModel(
  builder: GraphBuilder,
  sink: FileSink,
  folder: string,
  options: WriteOptions = {},
): Promise<string[]> {
  const total = builder.initializers.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const external = total > (options.externalAbove ?? gib)
    ? placeExternal(builder.initializers, options.externalFileBytes ?? gib)
    : new Map<Initializer, ExternalData>();
  let done = 0;
  const progress = (bytes: number) => {
    options.signal?.throwIfAborted();
    done += bytes;
    options.onProgress?.(done, total);
  };
  const written: string[] = [];
  const byFile = Map.groupBy(
    [...external].map(([initializer, data]): External => ({ initializer, data })),
    ({ data }) => data.location,
  );
  for (const [location, tensors] of byFile) {
    const path = `${folder}/${location}`;
    await withFile(sink, path, (file) => writeExternal(file, tensors, progress));
    written.push(path);
  }
  // last, so that a model file that exists is complete
  const path = `${folder}/model.onnx`;
  await withFile(sink, path, (file) => writeModelFile(file, builder, external, progress));
  written.push(path);
  return written;
}

function placeExternal(
  initializers: readonly Initializer[],
  fileBytes: number,
): Map<Initializer, ExternalData> {
  const placed = new Map<Initializer, ExternalData>();
  let file = 0;
  let end = 0;
  for (const initializer of initializers) {
    if (initializer.byteLength < externalMinimum) continue;
    let offset = Math.ceil(end / pageBytes) * pageBytes;
    if (offset > 0 && offset + initializer.byteLength > fileBytes) {
      file++;
      offset = 0;
    }
    end = offset + initializer.byteLength;
    const location = file === 0 ? "model.onnx_data" : `model.onnx_data_${file}`;
    placed.set(initializer, { location, offset, length: initializer.byteLength });
  }
  return placed;
}

async function writeExternal(
  file: FileWriter,
  tensors: readonly External[],
  progress: (bytes: number) => void,
): Promise<void> {
  let at = 0;
  for (const { initializer, data } of tensors) {
    if (data.offset > at) await file.write(new Uint8Array(data.offset - at));
    await writeChunks(file, initializer, progress);
    at = data.offset + data.length;
  }
}

async function writeModelFile(
  file: FileWriter,
  builder: GraphBuilder,
  external: ReadonlyMap<Initializer, ExternalData>,
  progress: (bytes: number) => void,
): Promise<void> {
  const graph = encodeGraph(builder.graph());
  const tensors = builder.initializers.map((initializer) => {
    const data = external.get(initializer);
    const header = encodeTensorHeader({ ...headerOf(initializer), external: data });
    const raw = data ? new Uint8Array(0) : delimiter(9, initializer.byteLength);
    const body = header.length + raw.length + (data ? 0 : initializer.byteLength);
    return {
      initializer,
      external: data !== undefined,
      header,
      raw,
      body,
      prefix: delimiter(5, body),
    };
  });
  const length = tensors.reduce(
    (sum, { prefix, body }) => sum + prefix.length + body,
    graph.length,
  );
  if (length >= 2 ** 31) {
    throw new ExportError(
      `${builder.name}: ${length} bytes do not fit in one protobuf; store the tensors externally`,
    );
  }
  await file.write(encodeModelPrefix(producer));
  await file.write(delimiter(7, length));
  await file.write(graph);
  for (const tensor of tensors) {
    await file.write(tensor.prefix);
    await file.write(tensor.header);
    if (tensor.external) continue;
    await file.write(tensor.raw);
    await writeChunks(file, tensor.initializer, progress);
  }
}

async function writeChunks(
  file: FileWriter,
  initializer: Initializer,
  progress: (bytes: number) => void,
): Promise<void> {
  let written = 0;
  for await (const chunk of initializer.chunks()) {
    await file.write(chunk);
    written += chunk.byteLength;
    progress(chunk.byteLength);
  }
  if (written !== initializer.byteLength) {
    throw new ExportError(
      `${initializer.name}: ${written} bytes came, ${initializer.byteLength} were announced`,
    );
  }
}

async function withFile(
  sink: FileSink,
  path: string,
  write: (file: FileWriter) => Promise<void>,
): Promise<void> {
  const file = await sink.create(path);
  try {
    await write(file);
  } finally {
    await file.close();
  }
}

function headerOf({ name, dtype, dims }: Initializer) {
  return { name, dtype, dims };
}

/** The tag and length that go before a field's bytes. */
function delimiter(field: number, length: number): Uint8Array {
  return Writer.create().uint32(lengthDelimited(field)).uint32(length).finish();
}
