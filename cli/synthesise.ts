/** `deno task synthesise`: a published model's directory without its weights. */
// deno-lint-ignore-file no-console
import { type Command, InvalidArgumentError, Option } from "commander";
import { repositoryNames, syntheticModel } from "../src/models/sd3/synthetic.ts";
import type { RepositoryName } from "../src/models/sd3/synthetic.ts";
import { directorySource } from "../src/weights/deno_source.ts";
import type { SyntheticFile, SyntheticType } from "../src/weights/synthetic.ts";
import { syntheticTypes } from "../src/weights/synthetic.ts";
import { integer } from "./request_options.ts";

interface Flags {
  readonly noise?: boolean;
  readonly seed: number;
  readonly dtype: SyntheticType;
  readonly tokenizers: string;
  readonly output: string;
}

/** Bytes made and written at once. */
const piece = 16 * 2 ** 20;

export function addSynthesise(program: Command, tokenizers: string): void {
  program.command("synthesise")
    .description(
      `Write a model with the names, shapes and sizes of a published one (${
        repositoryNames.join(", ")
      }), whose weights are zeros that take no disk, or noise. Needs no download.`,
    )
    .argument("<name>", "which model", repositoryName)
    .requiredOption("--output <dir>", "where the model goes")
    .option("--noise", "seeded noise as weights: as large on disk as the real ones")
    .option("--seed <n>", "of the noise", integer, 0)
    .addOption(
      new Option("--dtype <type>", "of the weights").choices([...syntheticTypes]).default("f16"),
    )
    .option("--tokenizers <dir>", "a model whose tokenizers to copy", tokenizers)
    .action(synthesise);
}

async function synthesise(name: RepositoryName, flags: Flags): Promise<void> {
  const tokenizers = directorySource(flags.tokenizers);
  try {
    const { files } = await syntheticModel(name, tokenizers, {
      dtype: flags.dtype,
      seed: flags.noise ? flags.seed : undefined,
    });
    for (const [path, file] of files) {
      console.error(`${path} ${(file.size / 1e6).toFixed(1)} MB`);
      await write(`${flags.output}/${path}`, file);
    }
    const total = [...files.values()].reduce((sum, { size }) => sum + size, 0);
    console.log(`${files.size} files, ${(total / 1e9).toFixed(2)} GB, in ${flags.output}`);
  } finally {
    tokenizers.close();
  }
}

/** Zeros that nothing follows stay a hole, where the file system has such. */
async function write(path: string, file: SyntheticFile): Promise<void> {
  await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
  using target = await Deno.open(path, { create: true, write: true, truncate: true });
  const end = file.head?.length ?? file.size;
  for (let at = 0; at < end; at += piece) {
    const bytes = file.read(at, Math.min(at + piece, end));
    for (let done = 0; done < bytes.length;) done += await target.write(bytes.subarray(done));
  }
  if (end < file.size) await target.truncate(file.size);
}

function repositoryName(text: string): RepositoryName {
  const name = repositoryNames.find((name) => name === text);
  if (!name) throw new InvalidArgumentError(`Give one of ${repositoryNames.join(", ")}`);
  return name;
}
