/**
 * What a model directory holds for each network, and which engine runs it. A directory may mix:
 * an ONNX transformer beside a safetensors VAE, or both kinds of one network.
 */
import { isInnerPath } from "../weights/source.ts";
import type { FileSource } from "../weights/source.ts";

/** `auto` takes what the directory holds, WGSL first. */
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

/** A network is not there in the form that the chosen engine needs. */
export class EngineChoiceError extends Error {
  override readonly name = "EngineChoiceError";
}

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
 * The engine of each wanted network.
 * @throws {EngineChoiceError} listing every network that the choice leaves without files
 */
export function chooseEngines(
  contents: DirectoryContents,
  choice: EngineChoice,
  networks: readonly Network[],
): ReadonlyMap<Network, EngineKind> {
  const chosen = new Map<Network, EngineKind>();
  const problems: string[] = [];
  for (const network of networks) {
    const kinds = contents[network];
    const kind = choice === "auto" ? kinds[0] : kinds.find((kind) => kind === choice);
    if (kind) chosen.set(network, kind);
    else if (choice === "wgsl") problems.push(`${NETWORK_FOLDERS[network]}/*.safetensors`);
    else if (choice === "onnx") problems.push(`${network}/model.onnx`);
    else problems.push(`${NETWORK_FOLDERS[network]}/*.safetensors or ${network}/model.onnx`);
  }
  if (problems.length > 0) {
    const hint = choice === "onnx" ? "; `deno task export-onnx` makes them" : "";
    throw new EngineChoiceError(
      `The model has no ${problems.join(", no ")} for the engine "${choice}"${hint}`,
    );
  }
  return chosen;
}
