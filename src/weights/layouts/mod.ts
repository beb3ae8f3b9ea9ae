/** How models are spread over files and what they call their tensors: one line each. */
import type { Checkpoint } from "../checkpoint.ts";
import { FileNotFoundError, ProblemList } from "../errors.ts";
import { readStart } from "../recognise.ts";
import { type FileSource, joinPath } from "../source.ts";
import { wrongStart } from "../wrong_kind.ts";
import { diffusers } from "./diffusers.ts";

export interface Layout {
  /** Where it looks for the network of a folder, for messages. */
  place(folder: string): string;
  /**
   * The tensors of a network by the names that it declares; undefined where there is no such file.
   * @throws {WeightsError} listing everything wrong with the files
   */
  open(source: FileSource, folder: string): Promise<Checkpoint | undefined>;
}

const layouts: readonly Layout[] = [diffusers];

/**
 * Finds the weights of the network that diffusers keeps in `folder` ("" for the source's root), and
 * validates its files, so that a damaged or unfinished download is refused before anything is
 * allocated.
 * @throws {FileNotFoundError} if there is no weight file
 * @throws {WeightsError} listing everything wrong with the files
 */
export async function openCheckpoint(source: FileSource, folder: string): Promise<Checkpoint> {
  for (const layout of layouts) {
    const checkpoint = await layout.open(source, folder);
    if (checkpoint) return checkpoint;
  }
  const problems = new ProblemList();
  for (const file of await source.list()) {
    if (!file.startsWith(joinPath(folder, "")) || file.endsWith(".json")) continue;
    const wrong = wrongStart(file, await readStart(source, file));
    if (wrong !== undefined) problems.add("corrupt", wrong);
  }
  problems.throwIfAny(folder);
  const places = layouts.map((layout) => layout.place(folder)).join(" or ");
  throw new FileNotFoundError(source.name, places);
}
