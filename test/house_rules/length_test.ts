/** Files that can be read in one go. */
import assert from "node:assert/strict";

const most = 400;
const root = new URL("../../", import.meta.url);
const folders = ["src", "cli", "kernels", "test", "deploy", "docs"];
/** Text that people read and write; data is neither. */
const isText = (name: string) => /\.(ts|wgsl|css|html|md|py|sh)$/.test(name);

Deno.test(`no file is over ${most} lines, tests included`, () => {
  const files = [...texts(root, folders)];
  assert.ok(files.length > 300);
  const long = files.map((file) => [file, linesOf(file)] as const).filter(([, n]) => n > most);
  assert.deepEqual(long.map(([file, lines]) => `${file.href}: ${lines}`), []);
});

function* texts(folder: URL, within?: readonly string[]): Generator<URL> {
  for (const { name, isDirectory, isFile } of Deno.readDirSync(folder)) {
    if (isFile && isText(name)) yield new URL(name, folder);
    if (isDirectory && (within?.includes(name) ?? true)) yield* texts(new URL(`${name}/`, folder));
  }
}

const linesOf = (file: URL) => Deno.readTextFileSync(file).trimEnd().split("\n").length;
