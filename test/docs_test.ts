/** What the documents at the root say is so: their code type-checks, their links lead somewhere. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import config from "../deno.json" with { type: "json" };

const root = new URL("../", import.meta.url);
const documents = Deno.readDirSync(root).map(({ name }) => name)
  .filter((name) => name.endsWith(".md")).toArray();
const textOf = (name: string) => Deno.readTextFileSync(new URL(name, root));

Deno.test("README's code type-checks", async () => {
  assert.ok(textOf("README.md").includes("```ts\n"));
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["check", "--doc-only", ...documents],
    cwd: fileURLToPath(root),
    env: { NO_COLOR: "1" },
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
});

Deno.test("README imports only what the package exports", () => {
  const entries = Object.keys(config.exports).map((entry) => config.name + entry.slice(1));
  for (const [, code] of textOf("README.md").matchAll(/^```ts\n(.*?)^```/gms)) {
    for (const [, name] of code!.matchAll(/from "([^"]+)"/g)) {
      assert.ok(entries.includes(name!), name);
    }
  }
});

Deno.test("links of the documents lead to files, and named files and tasks exist", () => {
  const tasks = Object.keys(config.tasks);
  for (const document of documents) {
    const text = textOf(document);
    for (const [, target] of text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)) {
      assert.ok(exists(target!), `${document} links to ${target}`);
    }
    for (const [, path] of text.matchAll(/`((?:src|test|kernels|fixtures|cli)\/[\w./-]+)`/g)) {
      assert.ok(exists(path!), `${document} names ${path}`);
    }
    for (const [, task] of text.matchAll(/deno task ([\w:-]+)/g)) {
      assert.ok(tasks.includes(task!), `${document} names the task ${task}`);
    }
  }
});

function exists(path: string): boolean {
  try {
    Deno.statSync(new URL(path, root));
    return true;
  } catch {
    return false;
  }
}
