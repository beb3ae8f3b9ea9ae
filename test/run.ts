/**
 * Runs all tests, after seeing to what they need beyond Deno, and ends with `N passed, N failed`.
 * Arguments go to `deno test`.
 */
// deno-lint-ignore-file no-console
import { ensureAdapter, installPackages } from "../adapter.ts";

const log = (line: string) => console.error(line);
await ensureAdapter({ install: true, log });
if (!await exists("/usr/bin/chromium")) {
  await installPackages(["chromium"], "The page's tests need a browser", log);
}

const paths = Deno.args.some((arg) => !arg.startsWith("-")) ? [] : ["test"];
const child = new Deno.Command(Deno.execPath(), {
  args: ["test", "-A", ...paths, ...Deno.args],
  env: { NO_COLOR: "1" },
  stdout: "piped",
  stderr: "inherit",
}).spawn();

let passed = 0;
let failed = 0;
let tail = "";
const decoder = new TextDecoder();
for await (const chunk of child.stdout) {
  await Deno.stdout.write(chunk);
  tail = (tail + decoder.decode(chunk, { stream: true })).slice(-20_000);
}
for (const [, ok, bad] of tail.matchAll(/\| (\d+) passed.*? \| (\d+) failed/g)) {
  passed = Number(ok);
  failed = Number(bad);
}
const { success } = await child.status;
// A file that does not even load counts as a failure, too.
if (!success && failed === 0) failed = 1;
console.log(`${passed} passed, ${failed} failed`);
Deno.exit(success && passed > 0 ? 0 : 1);

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch {
    return false;
  }
}
