/** The command line: argument parsing and progress, nothing else; long by the options it lists. */
// deno-lint-ignore-file no-console
import { fileURLToPath } from "node:url";
import cliProgress from "cli-progress";
import { Command, Option } from "commander";
import { addRequestOptions, number, requestOptions } from "./cli/request_options.ts";
import { ensureAdapter, prepareAdapter } from "./adapter.ts";
import { addSynthesise } from "./cli/synthesise.ts";
import { type FamilyChoice, familyChoices } from "./src/gpu/adapter.ts";
import { DeviceLostError, DeviceUnavailableError } from "./src/gpu/errors.ts";
import { encodePng } from "./src/image/png.ts";
import { ConfigError } from "./src/models/errors.ts";
import type { BackendChoice } from "./src/backends/choice.ts";
import { BackendChoiceError } from "./src/backends/errors.ts";
import { ExportError, OnnxError } from "./src/backends/onnx/errors.ts";
import { dryRun } from "./src/engine/dry_run.ts";
import { openEngine } from "./src/engine/engine.ts";
import { adapterProfiles, type ProfileName } from "./src/gpu/profiles.ts";
import { InvalidRequestError } from "./src/requests/errors.ts";
import { rows } from "./src/requests/fields.ts";
import { imageParameters } from "./src/requests/json.ts";
import type { TuningOptions } from "./src/engine/tuning.ts";
import type { Engine, GenerateResult } from "./src/engine/types.ts";
import { directorySink } from "./src/weights/deno_sink.ts";
import { type DirectorySource, directorySource } from "./src/weights/deno_source.ts";
import { textFile } from "./src/weights/deno_text_file.ts";
import { type WeightType, weightTypes } from "./src/weights/weight_type.ts";
import { FileNotFoundError, FileReadError, WeightsError } from "./src/weights/errors.ts";
import type { FileSource } from "./src/weights/source.ts";
import { wrongKind } from "./src/weights/wrong_kind.ts";

const defaultModel = fileURLToPath(new URL("./fixtures/sd35-tiny", import.meta.url));

/** Errors whose message is all that a user needs. */
const expected = [
  ConfigError,
  DeviceLostError,
  DeviceUnavailableError,
  BackendChoiceError,
  ExportError,
  FileNotFoundError,
  FileReadError,
  InvalidRequestError,
  OnnxError,
  WeightsError,
];

interface EngineFlags {
  readonly model: string;
  readonly backend: BackendChoice;
  readonly weights: WeightType;
  readonly kernels: FamilyChoice;
  readonly tuningFile: string;
  readonly install: boolean;
}

interface GenerateFlags extends EngineFlags {
  readonly output: string;
  readonly dryRun?: boolean;
  readonly profile?: ProfileName;
  readonly tune: boolean;
}

const backendOption = () =>
  new Option("--engine, --backend <kind>", "what runs the networks: our kernels or ONNX graphs")
    .choices(["auto", "wgsl", "onnx"]).default("auto");
const weightsOption = () =>
  new Option("--weights <type>", "weights in GPU memory: as stored, or quantised")
    .choices([...weightTypes]).default("auto");
const kernelsOption = () =>
  new Option("--kernels <family>", "kernels made for GPUs or for software adapters")
    .choices([...familyChoices]).default("auto").env("KERNELS");
const tuningFileOption = () =>
  new Option("--tuning-file <file>", "where measured choices are kept")
    .default(".cache/tuning.json").env("TUNING_FILE");
const noInstallOption = () =>
  new Option("--no-install", "do not install a software driver where there is none");

const program = new Command("deno task").description("Stable Diffusion 3 and 3.5 on WebGPU");
// `deno task generate --help` should show what the user typed.
const generateCommand = program.command("generate")
  .description("Make an image from a prompt.")
  .argument("<prompt>")
  .option("--model <dir>", "model in the diffusers layout", defaultModel)
  .addOption(backendOption())
  .addOption(weightsOption())
  .addOption(kernelsOption());
// The prompt is the argument.
addRequestOptions(generateCommand, rows.map(({ name }) => name).filter((name) => name !== "prompt"))
  .option("--output <file>", "several images: -1, -2, ... before the ending", "image.png")
  .option("--dry-run", "print what would be done as JSON, without a GPU")
  .addOption(
    new Option("--profile <name>", "with --dry-run: an adapter to plan for that need not be here")
      .choices(Object.keys(adapterProfiles)),
  )
  .addOption(
    new Option("--no-tune", "choose kernels by the kind of adapter, not by time").env("NO_TUNE"),
  )
  .addOption(tuningFileOption())
  .addOption(noInstallOption())
  .action(generate);

const tuneCommand = program.command("tune")
  .description("Time kernels and batch sizes on this adapter, for later generating and serving.")
  .option("--model <dir>", "model in the diffusers layout", defaultModel)
  .addOption(backendOption())
  .addOption(weightsOption())
  .addOption(kernelsOption());
addRequestOptions(tuneCommand, ["height", "width", "maxSequenceLength"])
  .option(
    "--seconds <n>",
    "for kernels, and for batches, each (default: as long as it takes)",
    number,
  )
  .addOption(tuningFileOption())
  .addOption(noInstallOption())
  .action(tune);

program.command("export-onnx")
  .description("Write a model's networks as ONNX graphs, for the second backend.")
  .argument("<dir>", "model in the diffusers layout")
  .option("--output <dir>", "where the exported model goes (default: the model's folder + -onnx)")
  .addOption(
    new Option("--dtype <type>", "what the graphs compute in").choices(["f32", "f16"]).default(
      "f32",
    ),
  )
  .option("--only <list>", "networks by folder, by commas (default: all)", names)
  .action(exportModel);

addSynthesise(program, defaultModel);

program.exitOverride();
try {
  await program.parseAsync(Deno.args, { from: "user" });
} catch (error) {
  if (error instanceof Error && "exitCode" in error) Deno.exit(error.exitCode as number);
  if (!expected.some((type) => error instanceof type)) throw error;
  console.error((error as Error).message);
  Deno.exit(1);
}

async function generate(prompt: string, flags: GenerateFlags): Promise<void> {
  const request = { ...requestOptions(flags), prompt };
  const source = await openModel(flags.model);
  if (flags.dryRun) {
    const profile = flags.profile && adapterProfiles[flags.profile];
    const options = { weightType: flags.weights, profile, kernels: flags.kernels };
    console.log(JSON.stringify(await dryRun(source, request, options), null, 2));
    return;
  }
  if (flags.profile) throw new InvalidRequestError("profile", "--profile is for --dry-run");
  if (!flags.output.endsWith(".png")) {
    throw new InvalidRequestError("output", `--output must end in .png, not ${flags.output}`);
  }
  if (!await ensureAdapter({ install: flags.install, log: (line) => console.error(line) })) {
    return await startAgain();
  }
  const started = performance.now();
  // Batches are for those who serve many requests: nobody waits for them here.
  const engine = await open(source, flags, flags.tune ? { batchSeconds: 0 } : undefined);
  const loaded = (performance.now() - started) / 1000;
  try {
    const stop = new AbortController();
    const interrupt = () => stop.abort(new InvalidRequestError("signal", "Stopped"));
    Deno.addSignalListener("SIGINT", interrupt);
    const result = await withProgress((onProgress) =>
      engine.generate(request, { onProgress, signal: stop.signal })
    );
    Deno.removeSignalListener("SIGINT", interrupt);
    await save(result, flags.output);
    report(engine, result, loaded);
    sayProblem(engine);
  } finally {
    await engine.close();
    await source.close();
  }
}

/** What is no model is refused before a driver is looked for or installed. */
async function openModel(path: string): Promise<DirectorySource> {
  const source = directorySource(path);
  const wrong = await wrongKind(source);
  if (wrong !== undefined) throw new ConfigError(wrong);
  return source;
}

async function open(
  source: FileSource,
  flags: EngineFlags,
  tuning: TuningOptions | undefined,
): Promise<Engine> {
  return await openEngine(source, {
    ...prepareAdapter(),
    backend: flags.backend,
    weightType: flags.weights,
    kernels: flags.kernels,
    // Loaded when it is wanted only: onnxruntime is large.
    onnx: flags.backend === "wgsl" ? undefined : await import("./src/backends/onnx/load.ts"),
    tuning: tuning && { ...tuning, store: textFile(flags.tuningFile) },
  });
}

interface TuneFlags extends EngineFlags {
  readonly seconds?: number;
}

async function tune(flags: TuneFlags): Promise<void> {
  const source = await openModel(flags.model);
  if (!await ensureAdapter({ install: flags.install, log: (line) => console.error(line) })) {
    return await startAgain();
  }
  const { seconds = Infinity } = flags;
  const request = requestOptions(flags);
  const started = performance.now();
  const engine = await open(source, flags, {
    request,
    kernelSeconds: seconds,
    batchSeconds: seconds,
    onChoice: ({ key, choice, milliseconds }) => {
      const times = Object.entries(milliseconds).map(([name, time]) =>
        `${name} ${time.toFixed(2)}`
      );
      console.log(`${key}: ${choice} (ms: ${times.join(", ")})`);
    },
  });
  try {
    // The networks that the batches had no need of.
    await engine.generate({ ...request, prompt: "", numInferenceSteps: 1, seed: 0 });
    const { kernels = [], batches = [] } = engine.status().tuning ?? {};
    for (const { tokens, images, source } of batches) {
      console.log(`batch of ${tokens} tokens an image: ${images} (${source})`);
    }
    const count = (wanted: string) => kernels.filter(({ source }) => source === wanted).length;
    const elapsed = ((performance.now() - started) / 1000).toFixed(1);
    console.log(
      `${count("measured")} measured, ${count("cached")} known before, ${count("default")} not ` +
        `measured; ${elapsed} s; kept in ${flags.tuningFile}`,
    );
    sayProblem(engine);
  } finally {
    await engine.close();
    await source.close();
  }
}

/** Tuning that does not work is no reason to stop. */
function sayProblem(engine: Engine): void {
  const { problem } = engine.status().tuning ?? {};
  if (problem !== undefined) console.error(problem);
}

async function isSameFolder(a: string, b: string): Promise<boolean> {
  try {
    return await Deno.realPath(a) === await Deno.realPath(b);
  } catch {
    return false;
  }
}

interface ExportFlags {
  readonly output?: string;
  readonly dtype: "f32" | "f16";
  readonly only?: readonly string[];
}

async function exportModel(model: string, { output, dtype, only }: ExportFlags): Promise<void> {
  const { exportOnnx } = await import("./src/backends/onnx/export/mod.ts");
  const folder = output ?? `${model.replace(/\/+$/, "")}-onnx`;
  const source = directorySource(model);
  let current = "";
  try {
    const files = await exportOnnx(source, directorySink(folder), {
      dtype,
      // Beside the weights, everything else is there already.
      copyRest: !await isSameFolder(model, folder),
      ...(only && { only }),
      onProgress: (network) => {
        if (network !== current) console.error(network);
        current = network;
      },
    });
    console.log(`${files.length} files in ${folder}`);
  } finally {
    await source.close();
  }
}

type Progress = NonNullable<NonNullable<Parameters<Engine["generate"]>[1]>["onProgress"]>;

/** A bar on a terminal, plain lines elsewhere; both on standard error. */
async function withProgress<T>(work: (onProgress: Progress) => Promise<T>): Promise<T> {
  if (!Deno.stderr.isTerminal()) {
    return await work((event) => {
      if (event.type === "progress") console.error(`step ${event.step}/${event.steps}`);
    });
  }
  const bar = new cliProgress.SingleBar({
    format: "{bar} {value}/{total} steps, {eta_formatted} left",
    hideCursor: true,
  }, cliProgress.Presets.shades_classic);
  let running = false;
  try {
    return await work((event) => {
      if (event.type !== "progress") return;
      if (!running) bar.start(event.steps, 0);
      running = true;
      bar.update(event.step);
    });
  } finally {
    if (running) bar.stop();
  }
}

async function save(result: GenerateResult, output: string): Promise<void> {
  for (const [k, image] of result.images.entries()) {
    const path = result.images.length === 1 ? output : output.replace(/\.png$/, `-${k + 1}.png`);
    const parameters = imageParameters(result.parameters, image.seed);
    await Deno.writeFile(path, encodePng(image, { parameters: asciiJson(parameters) }));
    console.log(`${path} (seed ${image.seed})`);
  }
}

/** JSON without a character beyond ASCII, so that it is valid in a tEXt chunk as it is. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u0080-\uffff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function report(engine: Engine, { timings, memory, truncated }: GenerateResult, loaded: number) {
  const { weights } = engine.status().memory;
  const row = (stage: string, seconds: number, bytes: number) =>
    console.error(
      `${stage.padEnd(8)} ${seconds.toFixed(2).padStart(8)} s ${mib(bytes).padStart(10)} MiB`,
    );
  for (const { encoder, field, removed } of truncated) {
    console.error(`${encoder} cut the ${field} before: ${removed}`);
  }
  console.error(`${"stage".padEnd(8)} ${"time".padStart(10)} ${"GPU memory".padStart(14)}`);
  row("load", loaded, weights);
  row("encode", timings.encode, memory.encode);
  row("denoise", timings.denoise, memory.denoise);
  row("decode", timings.decode, memory.decode);
}

function mib(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}

/** The driver that was just installed is seen by a new process only. */
async function startAgain(): Promise<void> {
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", Deno.mainModule, ...Deno.args, "--no-install"],
    stdin: "inherit",
  }).spawn().status;
  Deno.exit(code);
}

function names(text: string): string[] {
  return text.split(",").map((name) => name.trim());
}
