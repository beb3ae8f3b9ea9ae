/**
 * Runs all tests, after seeing to what they need beyond Deno, and ends with `N passed, N failed`.
 * `--all` (`deno task test:all`) adds the matrices, `*_matrix_test.ts`: every combination of what the
 * other tests try one of each of. Other arguments go to `deno test`.
 */
// deno-lint-ignore-file no-console
import { ensureAdapter, installPackages } from "../adapter.ts";
import { testFiles } from "./test_files.ts";

/** Processes side by side: most of a test's time is one thread that compiles kernels. */
const lanes = 2;
/** Test files of one process: each opens the device again, and compiles its kernels. */
const filesAtOnce = 4;
const longest = [
  "real/",
  "foreign/",
  "ops/",
  "backends/",
  "denoise/",
  "engine/",
  "pipeline/",
  "http/",
];

const log = (line: string) => console.error(line);
await ensureAdapter({ install: true, log });
if (!await exists("/usr/bin/chromium")) {
  await installPackages(["chromium"], "The page's tests need a browser", log);
}

const args = Deno.args.filter((arg) => arg !== "--all");
const given = args.some((arg) => !arg.startsWith("-"));
const files = given ? [] : byLength(testFiles({ matrices: args.length < Deno.args.length }));
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
    args: ["test", "--frozen", "-A", ...files, ...args],
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

/** Those of the longest folders first, so that none of them comes last. */
function byLength(files: readonly string[]): string[] {
  const rank = (file: string) => {
    const place = longest.findIndex((part) => file.includes(`/test/${part}`));
    return place < 0 ? longest.length : place;
  };
  return files.toSorted((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
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
