/** The formats of files that hold tensors: one line each. */
import { WeightsError } from "../errors.ts";
import type { FileSource } from "../source.ts";
import { readStart } from "../recognise.ts";
import type { StoredTensor } from "../tensors.ts";
import { wrongStart } from "../wrong_kind.ts";
import { safetensors } from "./safetensors.ts";

export interface Container {
  /** How its files' names end. */
  readonly ending: string;
  /**
   * The tensors of one file, by name; the file is validated as far as that goes without reading them.
   * @throws {FileNotFoundError}
   * @throws {WeightsError} listing everything wrong with the file
   */
  open(source: FileSource, path: string): Promise<ReadonlyMap<string, StoredTensor>>;
}

const containers: readonly Container[] = [safetensors];

/** Whether a file's name is one of a container. */
export function isContainer(path: string): boolean {
  return containers.some(({ ending }) => path.endsWith(ending));
}

/** As `Container.open`, by the file's name. */
export async function openContainer(
  source: FileSource,
  path: string,
): Promise<ReadonlyMap<string, StoredTensor>> {
  const container = containers.find(({ ending }) => path.endsWith(ending));
  try {
    if (container) return await container.open(source, path);
  } catch (error) {
    if (!(error instanceof WeightsError)) throw error;
    const wrong = wrongStart(path, await readStart(source, path));
    throw wrong === undefined ? error : new WeightsError(path, { corrupt: [wrong] });
  }
  const endings = containers.map(({ ending }) => ending).join(", ");
  throw new WeightsError(path, { corrupt: [`${path}: its name must end in ${endings}`] });
}
