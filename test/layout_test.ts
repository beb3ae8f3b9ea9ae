/**
 * Imports go one way: the edges use the pipeline, the pipeline its components, they the ops, the ops
 * the GPU and the kernels. Types count: who names a thing knows it.
 */
import assert from "node:assert/strict";

/** For each room of src/: which others its files may import. */
const allowed: Record<string, readonly string[]> = {
  gpu: [],
  random: [],
  schedulers: ["random"],
  tokenizers: [],
  requests: [],
  image: [],
  ops: ["gpu", "kernels"],
  weights: ["gpu"],
  nn: ["gpu", "ops", "weights"],
  models: ["gpu", "ops", "nn", "weights", "schedulers", "tokenizers", "requests"],
  server_async: ["schedulers", "requests"],
  backends: ["models", "nn", "ops", "gpu", "weights", "requests"],
  denoise: ["models", "ops", "gpu", "schedulers", "requests"],
  pipeline: [
    "denoise",
    "models",
    "nn",
    "ops",
    "gpu",
    "random",
    "schedulers",
    "requests",
    "image",
  ],
  engine: [
    "pipeline",
    "denoise",
    "backends",
    "models",
    "schedulers",
    "weights",
    "gpu",
    "random",
    "requests",
  ],
  // The server and the command line decide which backends there are.
  http: ["engine", "backends", "weights", "gpu", "image", "requests"],
  web: ["engine", "weights", "gpu", "image", "requests"],
};

/** Errors and other contracts that everybody may know: they import nothing but each other. */
const contracts = [
  "src/requests/errors.ts",
  "src/requests/types.ts",
  "src/requests/fields.ts",
  "src/requests/model_info.ts",
  "src/image/rgb_image.ts",
  "src/engine/types.ts",
  "src/gpu/errors.ts",
];

const root = new URL("../", import.meta.url);
const files = [...walk(new URL("src/", root))];
const imports = new Map(files.map((file) => [file, readImports(file)]));

function* walk(folder: URL): Generator<string> {
  for (const entry of Deno.readDirSync(folder)) {
    const url = new URL(entry.name + (entry.isDirectory ? "/" : ""), folder);
    if (entry.isDirectory) yield* walk(url);
    else if (entry.name.endsWith(".ts")) yield url.href.slice(root.href.length);
  }
}

/** Paths, from the root, of what a file imports, types included. */
function readImports(file: string): string[] {
  const text = Deno.readTextFileSync(new URL(file, root));
  const statements = text.matchAll(
    /^(?:import|export)\s+(?:[^;'"]*?\bfrom\s+)?"(\.[^"]+)"|\bimport\(\s*"(\.[^"]+)"/gm,
  );
  return [...statements].map(([, fixed, dynamic]) =>
    new URL(fixed ?? dynamic!, new URL(file, root)).href.slice(root.href.length)
  );
}

const folderOf = (path: string) =>
  path.startsWith("src/") ? path.split("/")[1]! : path.split("/")[0]!;

Deno.test("every room of src/ has its place", () => {
  assert.deepEqual([...new Set(files.map(folderOf))].sort(), Object.keys(allowed).sort());
});

Deno.test("imports go one way between the rooms", () => {
  const wrong: string[] = [];
  for (const [file, targets] of imports) {
    const from = folderOf(file);
    for (const target of targets) {
      const to = folderOf(target);
      if (to === from || contracts.includes(target) || allowed[from]!.includes(to)) continue;
      wrong.push(`${file} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("contracts import nothing but contracts", () => {
  for (const file of contracts) {
    assert.deepEqual(imports.get(file)?.filter((target) => !contracts.includes(target)), [], file);
  }
});

Deno.test("no file imports itself by a detour", () => {
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    const at = path.indexOf(file);
    assert.equal(at, -1, `A cycle: ${[...path.slice(at), file].join(" -> ")}`);
    if (done.has(file)) return;
    for (const target of imports.get(file) ?? []) visit(target, [...path, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
});

Deno.test("imports lead to files that exist", () => {
  for (const [file, targets] of imports) {
    for (const target of targets) {
      assert.ok(Deno.statSync(new URL(target, root)).isFile, `${file} imports ${target}`);
    }
  }
});
