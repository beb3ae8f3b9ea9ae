/**
 * What a model directory holds for each network, and which engine runs it. A directory may mix:
 * an ONNX transformer beside a safetensors VAE, or both kinds of one network.
 */
import { isInnerPath } from "../../weights/source.ts";
import type { FileSource } from "../../weights/source.ts";
import { EngineChoiceError } from "./errors.ts";

/** What a user asks for; see `chooseEngines`. */
export type EngineChoice = "wgsl" | "onnx" | "auto";
export type EngineKind = "wgsl" | "onnx";

/** Networks by the folder of their ONNX graph, with the folder of their safetensors. */
export const NETWORK_FOLDERS = {
  text_encoder: "text_encoder",
  text_encoder_2: "text_encoder_2",
  text_encoder_3: "text_encoder_3",
  transformer: "transformer",
  vae_decoder: "vae",
  vae_encoder: "vae",
} as const;
export type Network = keyof typeof NETWORK_FOLDERS;

export type DirectoryContents = Readonly<Record<Network, readonly EngineKind[]>>;

export async function inspectDirectory(source: FileSource): Promise<DirectoryContents> {
  const files = (await source.list()).filter(isInnerPath);
  const entries = Object.entries(NETWORK_FOLDERS).map(([network, folder]) => {
    const kinds: EngineKind[] = [];
    if (files.some((file) => file.startsWith(`${folder}/`) && file.endsWith(".safetensors"))) {
      kinds.push("wgsl");
    }
    if (files.includes(`${network}/model.onnx`)) kinds.push("onnx");
    return [network, kinds];
  });
  return Object.fromEntries(entries);
}

/**
 * The engine of each wanted network. `auto` takes what the directory holds, WGSL first; `onnx` takes
 * the graphs that are there and WGSL for the rest; a network in no form is left to WGSL, which says
 * what it misses.
 *
 * @throws {EngineChoiceError} if `onnx` is asked for and the transformer has no graph
 */
export function chooseEngines(
  contents: DirectoryContents,
  choice: EngineChoice,
): ReadonlyMap<Network, EngineKind> {
  if (choice === "onnx" && !contents.transformer.includes("onnx")) {
    throw new EngineChoiceError(
      "The model has no transformer/model.onnx for the engine onnx; `deno task export-onnx` makes it",
    );
  }
  const chosen = Object.entries(contents).map(([network, kinds]) => {
    const preferred = choice === "auto" ? kinds[0] : kinds.find((kind) => kind === choice);
    return [network as Network, preferred ?? "wgsl"] as const;
  });
  return new Map(chosen);
}
