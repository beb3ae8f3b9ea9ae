/**
 * Exports a model in the diffusers layout to ONNX in Optimum's layout: one folder a network with
 * `model.onnx` and its config.json (`transformer`, `vae_decoder`, `vae_encoder`, the text encoders), and
 * beside them the files that a pipeline needs anyway (model index, scheduler, tokenizers).
 */
import { openCheckpoint } from "../../../weights/layouts/mod.ts";
import { wrongKind } from "../../../weights/wrong_kind.ts";
import type { FileSink } from "../../../weights/sink.ts";
import type { FileSource } from "../../../weights/source.ts";
import { networkList } from "../../../models/sd3/networks.ts";
import { buildGraph } from "./build.ts";
import type { ComputeType } from "./graph.ts";
import { ExportError } from "../errors.ts";
import { writeModel, type WriteOptions } from "./write.ts";

export type { ComputeType } from "./graph.ts";
export { writeModel, type WriteOptions } from "./write.ts";

export interface ExportOptions extends Omit<WriteOptions, "onProgress"> {
  /** `f32` (default) computes in float32, `f16` multiplies in float16; see `layers.ts`. */
  readonly dtype?: ComputeType;
  /** Names of the networks to export; default all that the model has. */
  readonly only?: readonly string[];
  /** Also copies model index, scheduler and tokenizers; default true. */
  readonly copyRest?: boolean;
  readonly onProgress?:
    | ((name: string, bytesDone: number, bytesTotal: number) => void)
    | undefined;
}

/** Small files that an exported folder needs to be a model by itself. */
const copiedFiles = /^(model_index\.json|scheduler\/.*|tokenizer(_\d)?\/.*)$/;

/**
 * Exports every network that `source` has.
 * @returns paths of the files written
 * @throws {ExportError} where nothing is to export or a checkpoint does not fit its config
 * @throws {ConfigError} where a config is not one of Stable Diffusion 3
 */
export async function exportOnnx(
  source: FileSource,
  sink: FileSink,
  options: ExportOptions = {},
): Promise<string[]> {
  const names = networkList.map(([, { name }]) => name);
  const unknown = options.only?.find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new ExportError(
      `There is no network ${unknown} to export; there are ${names.join(", ")}`,
    );
  }
  const written: string[] = [];
  for (const [, row] of networkList) {
    const { name, folder } = row;
    if (options.only && !options.only.includes(name)) continue;
    const configPath = `${folder}/config.json`;
    if (!await source.has(configPath)) {
      if (!options.only) continue;
      throw new ExportError(`${source.name} has no ${configPath}`);
    }
    options.signal?.throwIfAborted();
    const config = await source.text(configPath);
    const checkpoint = await openCheckpoint(source, folder);
    const graph = buildGraph(row, config, checkpoint, options.dtype ?? "f32");
    await copyText(sink, `${name}/config.json`, config);
    written.push(`${name}/config.json`);
    const onProgress = (done: number, total: number) => options.onProgress?.(name, done, total);
    written.push(...await writeModel(graph, sink, name, { ...options, onProgress }));
  }
  if (written.length === 0) {
    throw new ExportError(
      await wrongKind(source) ?? `${source.name} holds no network of a Stable Diffusion 3 pipeline`,
    );
  }
  if (options.copyRest ?? true) {
    for (const path of (await source.list()).filter((path) => copiedFiles.test(path))) {
      const file = await sink.create(path);
      try {
        await file.write(await source.read(path, 0, await source.size(path)));
      } finally {
        await file.close();
      }
      written.push(path);
    }
  }
  return written;
}

async function copyText(sink: FileSink, path: string, text: string): Promise<void> {
  const file = await sink.create(path);
  try {
    await file.write(new TextEncoder().encode(text));
  } finally {
    await file.close();
  }
}
