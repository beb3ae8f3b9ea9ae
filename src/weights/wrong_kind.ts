/** What is said of what cannot be used as a model: what it is, and what to do. */
import {
  type FileKind,
  type ModelKind,
  recognise,
  recogniseStart,
  type StartKind,
} from "./recognise.ts";
import type { FileSource } from "./source.ts";

const getFolder = "download the model's folder in the diffusers layout (model_index.json, " +
  "transformer/, vae/, ...) and give its path";
const again = "download it again";

const ofStart: Readonly<Record<StartKind, readonly [is: string, todo: string]>> = {
  "git-lfs pointer": [
    "a git-lfs pointer, which stands for a file that was not downloaded",
    "run `git lfs pull` where it was cloned, or download the file itself",
  ],
  "web page": ["a web page that was saved instead of the file", `${again}, signed in if need be`],
  gguf: ["a GGUF file, which is not read yet", "use safetensors"],
  pickle: [
    "a pickle as torch.save writes it, which is never read, as it may hold any program",
    "use safetensors",
  ],
};

/** `path is ...`, for a file whose first characters tell that it is of another kind than wanted. */
export function wrongStart(path: string, start: string): string | undefined {
  const kind = recogniseStart(start);
  return kind && `${path} is ${ofStart[kind].join(": ")}`;
}

/** What is wrong with `source` as a model, in one line; undefined for a folder in diffusers' layout. */
export async function wrongKind(source: FileSource): Promise<string | undefined> {
  const kind = await recognise(source);
  return kind.is === "diffusers" ? undefined : describe(source.name, kind);
}

function describe(name: string, kind: Exclude<ModelKind, { is: "diffusers" }>): string {
  switch (kind.is) {
    case "absent":
      return name === ""
        ? `The model's path is empty: ${getFolder}`
        : `There is nothing at ${name}: give the path of a model's folder`;
    case "hub id":
      return `There is nothing at ${name}; if that is a model's name on a hub, downloading by name ` +
        `is not there yet: ${getFolder}`;
    case "address":
      return `${name} is an address, and downloading is not there yet: ${getFolder}`;
    case "empty folder":
      return `${name} is an empty folder: ${getFolder}`;
    case "onnx graphs":
      return `${name} holds ONNX graphs alone, without model_index.json and configs: give the whole ` +
        "folder of an export, or export a model with `deno task export-onnx`";
    case "config":
      return `${name} is one file of a model: give the folder that holds model_index.json`;
    case "component":
      return `${name} is one component of a model (${kind.of}): give the folder above it, which ` +
        "holds model_index.json";
    case "parent":
      return `${name} holds no model_index.json itself, but models below it: give the path of ` +
        `one of those (${few(kind.folders)})`;
    case "without index":
      return `${name} has parts of a model (${
        few(kind.folders)
      }) and no model_index.json: ${again}`;
    case "folder":
      return `${name} is no model in the diffusers layout, it has no model_index.json: ${getFolder}`;
    case "file":
      return describeFile(kind);
  }
}

function describeFile({ path, ...file }: FileKind & { readonly path: string }): string {
  switch (file.kind) {
    case "empty":
      return `${path} is an empty file: ${again}`;
    case "lora":
      return `${path} is a LoRA, which changes a model and is none, and is not read yet: ` +
        "give the folder of a model";
    case "onnx":
      return `${path} is an ONNX graph, one network: give the folder of the whole exported model`;
    case "single-file":
      return `${path} is a single-file checkpoint of ${file.of}, which is not read yet: ${getFolder}`;
    case "network":
      return `${path} is the weights of one network (${file.of}) without its config: ${getFolder}`;
    case "tensors":
      return `${path} is a safetensors file of no known model (it begins with ` +
        `${JSON.stringify(file.of.slice(0, 200))}): ${getFolder}`;
    case "damaged":
      return `${path} is a damaged safetensors file (${file.reason}): ${again}`;
    case "unknown":
      return `${path} is a file of no known kind: ${getFolder}`;
    default: {
      const [is, todo] = ofStart[file.kind];
      const isFinal = file.kind === "gguf" || file.kind === "pickle";
      return `${path} is ${is}: ${isFinal ? getFolder : todo}`;
    }
  }
}

/** The first of a list, for a message. */
function few(names: readonly string[]): string {
  return names.slice(0, 5).join(", ") + (names.length > 5 ? ", ..." : "");
}
