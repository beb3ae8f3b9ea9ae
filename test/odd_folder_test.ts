/** The program runs from a folder whose name a URL has to escape. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));

/** Runs a file of the repository as it lies in such a folder, and hands over what it said. */
async function runInOddFolder(
  args: readonly string[],
  check: (folder: string, said: string) => void,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "a ü %20 # " });
  try {
    for (const { name } of Deno.readDirSync(root)) {
      if (name !== "dist") await Deno.symlink(root + name, `${folder}/${name}`);
    }
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", ...args],
      cwd: folder,
      env: { NO_COLOR: "1" },
    }).output();
    const said = new TextDecoder().decode(stdout);
    assert.ok(success, said + new TextDecoder().decode(stderr));
    check(folder, said);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("the command line finds its own model in a folder with spaces, ü, % and #", () =>
  runInOddFolder(["cli.ts", "generate", "a cat", "--dry-run"], (_, said) => {
    assert.match(said, /sd35-tiny/);
  }));

Deno.test("the page is bundled there, too", () =>
  runInOddFolder(["src/web/build.ts"], (folder) => {
    for (const name of ["main.js", "engine_worker.js", "index.html"]) {
      assert.ok(Deno.statSync(`${folder}/dist/web/${name}`).isFile);
    }
  }));
