/** The families of models, by the pipeline's class that model_index.json names. */
import type { FileSource } from "../weights/source.ts";
import { wrongKind } from "../weights/wrong_kind.ts";
import { ConfigError } from "./errors.ts";
import { type ModelIndex, modelIndex, parseConfig } from "./sd3/configs.ts";
import { describeStableDiffusion3, type ModelDescription } from "./sd3/describe.ts";

/** Reads everything of a model but its weights. */
type Describe = (source: FileSource, index: ModelIndex) => Promise<ModelDescription>;

const families: Readonly<Record<string, Describe>> = {
  StableDiffusion3Pipeline: describeStableDiffusion3,
  ORTStableDiffusion3Pipeline: describeStableDiffusion3,
};

/**
 * Reads everything of the model in `source` but its weights, and checks it.
 *
 * @throws {ConfigError} naming every file that is absent or cannot be used, and every problem in it
 */
export async function describeModel(source: FileSource): Promise<ModelDescription> {
  const wrong = await wrongKind(source);
  if (wrong !== undefined) throw new ConfigError(wrong);
  const path = "model_index.json";
  const index = parseConfig(modelIndex, await source.text(path), path);
  const describe = Object.hasOwn(families, index._class_name) && families[index._class_name];
  if (!describe) {
    throw new ConfigError(
      `${source.name} is a ${index._class_name}, a model of another family: its ${path} must be ` +
        `of ${Object.keys(families).join(" or ")}`,
    );
  }
  return await describe(source, index);
}
