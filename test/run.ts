/**
 * Runs all tests, after seeing to what they need beyond Deno, and ends with `N passed, N failed`.
 * Arguments go to `deno test`.
 */
// deno-lint-ignore-file no-console
import { ensureAdapter, installPackages } from "../adapter.ts";

/** Processes side by side: most of a test's time is one thread that compiles kernels. */
const lanes = 2;
/** Test files of one process: each opens the device again, and compiles its kernels. */
const filesAtOnce = 4;
const longest = ["foreign/", "ops/", "backends/", "denoise/", "engine/", "pipeline/", "http/"];

const log = (line: string) => console.error(line);
await ensureAdapter({ install: true, log });
if (!await exists("/usr/bin/chromium")) {
  await installPackages(["chromium"], "The page's tests need a browser", log);
}

const given = Deno.args.some((arg) => !arg.startsWith("-"));
const files = given ? [] : await testFiles(new URL("./", import.meta.url));
const queue = given ? [[]] : chunks(files.filter((file) => !isTimed(file)));
let passed = 0;
let failed = 0;
for (const timed of chunks(files.filter(isTimed))) await run(timed);
await Promise.all(Array.from({ length: lanes }, async () => {
  for (let files = queue.shift(); files; files = queue.shift()) await run(files);
}));
console.log(`${passed} passed, ${failed} failed`);
Deno.exit(failed === 0 && passed > 0 ? 0 : 1);

/** A person's moves against a server that goes on meanwhile: these want the machine to themselves. */
function isTimed(file: string): boolean {
  return file.includes("/test/web/");
}

/** Runs some files in a process of their own, and prints what it said when it is done. */
async function run(files: readonly string[]): Promise<void> {
  const { success, signal, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", ...files, ...Deno.args],
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "inherit",
  }).output();
  await Deno.stdout.write(stdout);
  const [, ok, bad] = /\| (\d+) passed.*? \| (\d+) failed/.exec(
    new TextDecoder().decode(stdout.subarray(-2000)),
  ) ?? [];
  passed += Number(ok ?? 0);
  // Drivers crash now and then when a process with a device ends: its tests have been run by then.
  const diedAtEnd = signal !== null && Number(ok ?? 0) > 0 && bad === "0";
  if (!success) log(`Ended by ${signal ?? "itself, with an error"}: deno test ${files.join(" ")}`);
  // A file that does not even load counts as a failure, too.
  failed += Math.max(Number(bad ?? 0), success || diedAtEnd ? 0 : 1);
}

/** All test files, by path; those of the longest folders first, so that none of them comes last. */
async function testFiles(folder: URL): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) files.push(...await testFiles(new URL(`${name}/`, folder)));
    else if (name.endsWith("_test.ts")) files.push(new URL(name, folder).pathname);
  }
  const rank = (file: string) => {
    const place = longest.findIndex((part) => file.includes(`/test/${part}`));
    return place < 0 ? longest.length : place;
  };
  return files.sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
}

function chunks(files: readonly string[]): string[][] {
  return Array.from(
    { length: Math.ceil(files.length / filesAtOnce) },
    (_, i) => files.slice(i * filesAtOnce, (i + 1) * filesAtOnce),
  );
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch {
    return false;
  }
}
