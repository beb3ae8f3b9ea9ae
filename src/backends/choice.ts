/**
 * What a model's directory holds for each network, and which backend runs it. A directory may mix:
 * an ONNX transformer beside a safetensors VAE, or both kinds of one network.
 */
import { type Network, networkList } from "../models/sd3/networks.ts";
import { BackendChoiceError } from "./errors.ts";
import { isContainer } from "../weights/containers/mod.ts";
import { type FileSource, isInnerPath } from "../weights/source.ts";

/** Our own kernels, or ONNX graphs in onnxruntime. */
export type BackendKind = "wgsl" | "onnx";
/** What a user asks for; see `chooseBackends`. */
export type BackendChoice = BackendKind | "auto";

export type DirectoryContents = ReadonlyMap<Network, readonly BackendKind[]>;
export type Backends = ReadonlyMap<Network, BackendKind>;

export async function inspectDirectory(source: FileSource): Promise<DirectoryContents> {
  const files = (await source.list()).filter(isInnerPath);
  return new Map(networkList.map(([network, { name, folder }]) => {
    const kinds: BackendKind[] = [];
    if (files.some((file) => file.startsWith(`${folder}/`) && isContainer(file))) {
      kinds.push("wgsl");
    }
    if (files.includes(`${name}/model.onnx`)) kinds.push("onnx");
    return [network, kinds];
  }));
}

/**
 * The backend of each network. `auto` takes what the directory holds, WGSL first; `onnx` takes the
 * graphs that are there and WGSL for the rest; a network in no form is left to WGSL, which says what
 * it misses.
 *
 * @throws {BackendChoiceError} if `onnx` is asked for and the transformer has no graph
 */
export function chooseBackends(contents: DirectoryContents, choice: BackendChoice): Backends {
  if (choice === "onnx" && !contents.get("transformer")?.includes("onnx")) {
    throw new BackendChoiceError(
      "The model has no transformer/model.onnx for the backend onnx; `deno task export-onnx` makes it",
    );
  }
  return new Map([...contents].map(([network, kinds]) => {
    const preferred = choice === "auto" ? kinds[0] : kinds.find((kind) => kind === choice);
    return [network, preferred ?? "wgsl"];
  }));
}
