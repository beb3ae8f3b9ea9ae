/** The files of one ONNX graph: `model.onnx` and the external data that it names. */
import { type FileSource, isInnerPath } from "../../weights/source.ts";
import { OnnxError } from "./errors.ts";
import { type ModelSummary, summariseModel } from "./proto.ts";
import { FileNotFoundError } from "../../weights/errors.ts";
import { startBytes } from "../../weights/recognise.ts";
import { wrongStart } from "../../weights/wrong_kind.ts";

export interface OnnxFiles {
  /** For messages: source and path of the model file. */
  readonly name: string;
  readonly model: Uint8Array<ArrayBuffer>;
  readonly summary: ModelSummary;
  /** Paths as the graph spells them. */
  readonly external: readonly {
    readonly path: string;
    readonly data: Uint8Array<ArrayBuffer>;
  }[];
}

export interface ReadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
}

/** Bytes read at once. */
const pieceBytes = 2 ** 24;

/**
 * Reads a graph into memory whole, since onnxruntime-web takes it so.
 * @throws {OnnxError} where the file is no ONNX model or names data that is not there
 * @throws {FileNotFoundError}
 */
export async function readOnnxFiles(
  source: FileSource,
  folder: string,
  { signal, onProgress }: ReadOptions = {},
): Promise<OnnxFiles> {
  const path = `${folder}/model.onnx`;
  const name = `${source.name}/${path}`;
  let total = await source.size(path);
  let done = 0;
  const read = async (path: string, size: number) => {
    let bytes: Uint8Array<ArrayBuffer>;
    try {
      bytes = new Uint8Array(size);
    } catch (error) {
      throw new OnnxError(name, `${path} has ${size} bytes, too many for one array`, {
        cause: error,
      });
    }
    for (let at = 0; at < size; at += pieceBytes) {
      signal?.throwIfAborted();
      const end = Math.min(size, at + pieceBytes);
      bytes.set(await source.read(path, at, end), at);
      onProgress?.(done += end - at, total);
    }
    const start = String.fromCharCode(...bytes.subarray(0, startBytes));
    // Numbers may begin as a pickle does, but hardly as a text.
    if (/^(version |\s*<)/.test(start)) {
      const wrong = wrongStart(path, start);
      if (wrong !== undefined) throw new OnnxError(name, wrong);
    }
    return bytes;
  };
  const model = await read(path, total);
  const summary = summarise(model, name);

  const sizes = new Map<string, number>();
  for (const { name: tensor, location } of summary.initializers) {
    if (location === undefined || sizes.has(location)) continue;
    if (!isInnerPath(location)) {
      throw new OnnxError(name, `${tensor} is stored outside the folder, in ${location}`);
    }
    try {
      sizes.set(location, await source.size(`${folder}/${location}`));
    } catch (error) {
      if (!(error instanceof FileNotFoundError)) throw error;
      throw new OnnxError(name, `${tensor} is stored in ${location}, which is not there`);
    }
  }
  for (const size of sizes.values()) total += size;
  const external = [];
  for (const [location, size] of sizes) {
    external.push({ path: location, data: await read(`${folder}/${location}`, size) });
  }
  return { name, model, summary, external };
}

function summarise(model: Uint8Array, name: string): ModelSummary {
  let summary: ModelSummary;
  try {
    summary = summariseModel(model);
  } catch (error) {
    throw new OnnxError(name, "is damaged or not an ONNX model", { cause: error });
  }
  if (summary.nodes.length === 0 || summary.opsets.size === 0) {
    throw new OnnxError(name, "is damaged or not an ONNX model: it has no nodes");
  }
  return summary;
}
