/**
 * What was given as a model: told by names and first bytes, before anything is loaded. What to say
 * of it is `wrong_kind.ts`'s.
 */
import { safetensors } from "./containers/safetensors.ts";
import { FileNotFoundError, WeightsError } from "./errors.ts";
import type { FileSource } from "./source.ts";

/** Files that are told by how they start, whatever their name. */
export type StartKind = "git-lfs pointer" | "web page" | "gguf" | "pickle";

export type FileKind =
  | { readonly kind: StartKind | "onnx" | "empty" | "lora" | "unknown" }
  /** Safetensors: a whole pipeline's, one network's, or of names that say nothing. */
  | { readonly kind: "single-file" | "network" | "tensors"; readonly of: string }
  | { readonly kind: "damaged"; readonly reason: string };

export type ModelKind =
  | { readonly is: "diffusers" }
  | { readonly is: "empty folder" | "onnx graphs" | "folder" }
  /** A JSON file of a model, by itself. */
  | { readonly is: "config" }
  /** Nothing is at the path, which may be a repository's name or an address. */
  | { readonly is: "absent" | "hub id" | "address" }
  /** `path` is the source's own where that is the file's. */
  | { readonly is: "file"; readonly path: string } & FileKind
  /** The folder of a network, a scheduler or a tokenizer, whose config names `of`. */
  | { readonly is: "component"; readonly of: string }
  /** A folder around models, or a model's folder without its index; folders below it. */
  | { readonly is: "parent" | "without index"; readonly folders: readonly string[] };

/** Bytes that tell a file's kind. */
export const startBytes = 512;
/** How far down files are looked for: a download cache keeps models in snapshots/REVISION. */
const depth = 3;

const index = "model_index.json";
const weights = /\.(safetensors|sft|gguf|ckpt|pth?|bin|onnx)$/;

const starts: readonly (readonly [RegExp, StartKind])[] = [
  [/^version https:\/\/git-lfs\.github\.com\/spec/, "git-lfs pointer"],
  [/^\s*<(!doctype html|html|\?xml)/i, "web page"],
  [/^GGUF/, "gguf"],
  // torch.save: a zip archive, formerly the bare pickle, which begins with its protocol.
  // deno-lint-ignore no-control-regex -- they are bytes
  [/^(PK\x03\x04|\x80[\x02-\x05])/, "pickle"],
];

/** By the names of tensors, the first that fits one of them. */
const names: readonly (readonly [RegExp, "lora" | "single-file" | "network", string])[] = [
  [/lora_[AB]\b|lora_(up|down)\b|lora\.(up|down)\b|lokr_|hada_/, "lora", ""],
  [/^model\.diffusion_model\.joint_blocks\./, "single-file", "Stable Diffusion 3"],
  [/^model\.diffusion_model\.input_blocks\./, "single-file", "Stable Diffusion 1, 2 or XL"],
  [/^model\.diffusion_model\./, "single-file", "another family"],
  [/^controlnet_/, "network", "a ControlNet"],
  [/^joint_blocks\./, "network", "a transformer of Stable Diffusion 3"],
  [/^(double|single)_blocks\./, "network", "a transformer of Flux"],
  [/^transformer_blocks\./, "network", "a transformer"],
  [/^(text_model\.)?encoder\.layers\./, "network", "a CLIP text encoder"],
  [/^encoder\.block\.0\./, "network", "a T5 text encoder"],
  [/^(first_stage_model\.)?decoder\.conv_in\./, "network", "an autoencoder"],
  [/^(down|up)_blocks\./, "network", "a U-Net"],
];

/** @param start of the file, one character for each byte */
export function recogniseStart(start: string): StartKind | undefined {
  return starts.find(([pattern]) => pattern.test(start))?.[1];
}

/**
 * A file's first bytes, one character for each.
 * @throws {FileNotFoundError}
 */
export async function readStart(source: FileSource, path: string): Promise<string> {
  const size = Math.min(await source.size(path), startBytes);
  return String.fromCharCode(...await source.read(path, 0, size));
}

/** @throws {FileNotFoundError} */
async function recogniseFile(source: FileSource, path: string): Promise<FileKind> {
  const start = await readStart(source, path);
  if (start === "") return { kind: "empty" };
  const kind = recogniseStart(start);
  if (kind) return { kind };
  if (path.endsWith(".onnx")) return { kind: "onnx" };
  // A header of safetensors is a JSON object behind 8 bytes.
  if (!path.endsWith(safetensors.ending) && start[8] !== "{") return { kind: "unknown" };
  try {
    return recogniseTensors([...(await safetensors.open(source, path)).keys()]);
  } catch (error) {
    if (!(error instanceof WeightsError)) throw error;
    const reasons = error.problems.corrupt ?? [];
    return { kind: "damaged", reason: reasons[0]?.replace(`${path}: `, "") ?? error.message };
  }
}

function recogniseTensors(keys: readonly string[]): FileKind {
  for (const [pattern, kind, of] of names) {
    if (keys.some((key) => pattern.test(key))) return kind === "lora" ? { kind } : { kind, of };
  }
  return { kind: "tensors", of: keys[0] ?? "" };
}

/** @throws {FileReadError} */
export async function recognise(source: FileSource): Promise<ModelKind> {
  const isItself = (file: string) => `/${source.name}`.endsWith(`/${file}`);
  if (await source.has(index)) return { is: isItself(index) ? "config" : "diffusers" };
  let files: readonly string[];
  try {
    files = await source.list(depth);
  } catch (error) {
    if (!(error instanceof FileNotFoundError)) throw error;
    return { is: absentKind(source.name) };
  }
  if (files.length === 0) return { is: "empty folder" };
  const models = files.filter((file) => file.endsWith(`/${index}`));
  if (models.length > 0) {
    return { is: "parent", folders: models.map((file) => file.slice(0, -index.length - 1)) };
  }
  const isFile = files.length === 1 && isItself(files[0]!);
  if (isFile && files[0]!.endsWith(".json")) return { is: "config" };
  const of = await componentClass(source);
  if (of !== undefined) return { is: "component", of };
  const configs = files.flatMap((file) => /^(\w+)\/(\w+_)?config\.json$/.exec(file)?.[1] ?? []);
  if (configs.length > 0) return { is: "without index", folders: [...new Set(configs)] };
  const candidates = isFile ? files : files.filter((file) => weights.test(file));
  if (candidates.length > 1 && candidates.every((file) => file.endsWith(".onnx"))) {
    return { is: "onnx graphs" };
  }
  // What lies at the top speaks for the folder.
  const file = candidates.find((file) => !file.includes("/")) ?? candidates[0];
  if (file === undefined) return { is: "folder" };
  const path = isFile ? source.name : `${source.name}/${file}`;
  return { is: "file", path, ...await recogniseFile(source, file) };
}

function absentKind(name: string): "absent" | "hub id" | "address" {
  if (/^https?:/.test(name)) return "address";
  return /^[\w-][\w.-]*\/[\w.-]+$/.test(name) ? "hub id" : "absent";
}

/** The class that a component's own config names, if this is a component's folder. */
async function componentClass(source: FileSource): Promise<string | undefined> {
  for (const path of ["config.json", "scheduler_config.json", "tokenizer_config.json"]) {
    if (!await source.has(path)) continue;
    try {
      const { _class_name, architectures, tokenizer_class } = JSON.parse(await source.text(path));
      const found = _class_name ?? architectures?.[0] ?? tokenizer_class;
      if (typeof found === "string") return found;
    } catch (error) {
      if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
    }
  }
  return undefined;
}
