/** How models are spread over files and what they call their tensors: one line each. */
import type { Checkpoint } from "../checkpoint.ts";
import { FileNotFoundError } from "../errors.ts";
import type { FileSource } from "../source.ts";
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
  const places = layouts.map((layout) => layout.place(folder)).join(" or ");
  throw new FileNotFoundError(source.name, places);
}
