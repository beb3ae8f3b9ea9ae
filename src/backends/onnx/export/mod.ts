/**
 * Exports a model in the diffusers layout to ONNX in Optimum's layout: one folder a network with
 * `model.onnx` and its config.json (`transformer`, `vae_decoder`, `vae_encoder`, the text encoders), and
 * beside them the files that a pipeline needs anyway (model index, scheduler, tokenizers).
 */
import { openCheckpoint } from "../../../weights/checkpoint.ts";
import type { FileSink } from "../../../weights/sink.ts";
import type { FileSource } from "../../../weights/source.ts";
import { buildComponent, EXPORT_COMPONENTS } from "./components.ts";
import type { ComputeType } from "./graph.ts";
import { ExportError } from "../errors.ts";
import { writeModel, type WriteOptions } from "./write.ts";

export { buildComponent, EXPORT_COMPONENTS, type ExportComponent } from "./components.ts";
export type { ComputeType } from "./graph.ts";
export { writeModel, type WriteOptions } from "./write.ts";

export interface ExportOptions extends Omit<WriteOptions, "onProgress"> {
  /** `f32` (default) computes in float32, `f16` multiplies in float16; see `layers.ts`. */
  readonly dtype?: ComputeType;
  /** Networks to export, by ONNX folder; default all that the model has. */
  readonly only?: readonly string[];
  /** Also copies model index, scheduler and tokenizers; default true. */
  readonly copyRest?: boolean;
  readonly onProgress?:
    | ((folder: string, bytesDone: number, bytesTotal: number) => void)
    | undefined;
}

/** Small files that an exported folder needs to be a model by itself. */
const REST = /^(model_index\.json|scheduler\/.*|tokenizer(_\d)?\/.*)$/;

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
  const folders = EXPORT_COMPONENTS.map(({ folder }) => folder);
  const unknown = options.only?.find((folder) => !folders.includes(folder));
  if (unknown !== undefined) {
    throw new ExportError(
      `There is no network ${unknown} to export; there are ${folders.join(", ")}`,
    );
  }
  const written: string[] = [];
  for (const component of EXPORT_COMPONENTS) {
    if (options.only && !options.only.includes(component.folder)) continue;
    const configPath = `${component.source}/config.json`;
    if (!await source.has(configPath)) {
      if (!options.only) continue;
      throw new ExportError(`${source.name} has no ${configPath}`);
    }
    options.signal?.throwIfAborted();
    const config = await source.text(configPath);
    const checkpoint = await openCheckpoint(source, component.source, component.stems);
    const builder = buildComponent(component, config, checkpoint, options.dtype ?? "f32");
    await copyText(sink, `${component.folder}/config.json`, config);
    written.push(`${component.folder}/config.json`);
    const onProgress = (done: number, total: number) =>
      options.onProgress?.(component.folder, done, total);
    written.push(...await writeModel(builder, sink, component.folder, { ...options, onProgress }));
  }
  if (written.length === 0) {
    throw new ExportError(`${source.name} holds no network of a Stable Diffusion 3 pipeline`);
  }
  if (options.copyRest ?? true) {
    for (const path of (await source.list()).filter((path) => REST.test(path))) {
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
