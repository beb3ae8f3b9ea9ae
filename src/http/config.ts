/** The server's configuration: one table of flags, each of which is an environment variable too. */

import { type FamilyChoice, familyChoices } from "../gpu/adapter.ts";
import type { RequestLimits } from "../requests/model_info.ts";
import { type WeightType, weightTypes } from "../weights/weight_type.ts";
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { ConfigExit } from "./errors.ts";

export interface ServerConfig extends RequestLimits {
  /** Folder of the model that answers requests. */
  readonly model: string;
  /** Name under which the model is published; the folder's name if absent. */
  readonly modelName?: string | undefined;
  readonly backend: "wgsl" | "onnx" | "auto";
  /** How weights lie in GPU memory. */
  readonly weights: WeightType;
  readonly kernels: FamilyChoice;
  /** Bytes of GPU memory that the model and its requests may use; the engine's choice if absent. */
  readonly gpuMemory?: number | undefined;
  /** Samples in one denoising step; measured if absent. */
  readonly maxBatch?: number | undefined;
  /** Whether kernels and batch sizes are chosen by timing them. */
  readonly tune: boolean;
  /** Where the results are kept. */
  readonly tuningFile: string;
  readonly host: string;
  readonly port: number;
  /** Start of the URLs in answers; from the request itself if absent. */
  readonly publicUrl?: string | undefined;
  readonly trustProxy: boolean;
  readonly corsOrigin: readonly string[];
  readonly apiKey?: string | undefined;
  readonly imageDir: string;
  /** Seconds; 0 keeps images for ever. */
  readonly imageTtl: number;
  /** Bytes; 0 is no bound. */
  readonly imageMaxBytes: number;
  /** Requests that run in the engine at once. */
  readonly maxConcurrency: number;
  /** Requests that wait for a place. */
  readonly maxQueue: number;
  readonly maxBodyBytes: number;
  /** Seconds that a client may take to send its body. */
  readonly bodyTimeout: number;
  /** Seconds that running requests get to finish after SIGTERM or SIGINT. */
  readonly drainSeconds: number;
  readonly logPrompts: boolean;
  /** Folder of the bundled web page. */
  readonly webDir: string;
  /** Folder of the model that the page may load into the visitor's browser. */
  readonly browserModel?: string | undefined;
}

/** `[flag, environment variable or several names of it, default, help, parser]`. */
type Row = readonly [
  flag: string,
  variable: string | readonly string[],
  fallback: unknown,
  help: string,
  parse?: (text: string) => unknown,
];

const table: readonly Row[] = [
  ["--model <folder>", "MODEL_DIR", "fixtures/sd35-tiny", "model folder (diffusers layout)"],
  ["--model-name <name>", "MODEL_NAME", undefined, "published name (default: the folder's)"],
  [
    "--engine, --backend <kind>",
    ["BACKEND", "ENGINE"],
    "auto",
    "wgsl, onnx or auto",
    oneOf("wgsl", "onnx", "auto"),
  ],
  ["--weights <type>", "WEIGHTS", "auto", weightTypes.join(", "), oneOf(...weightTypes)],
  ["--kernels <family>", "KERNELS", "auto", familyChoices.join(", "), oneOf(...familyChoices)],
  ["--gpu-memory <bytes>", "GPU_MEMORY", undefined, "GPU memory to use, e.g. 8G", bytes],
  [
    "--max-batch <n>",
    "MAX_BATCH",
    undefined,
    "images in a step (default: measured)",
    integer(1, 64),
  ],
  ["--no-tune", "NO_TUNE", true, "choose kernels by the kind of adapter, not by time", negated],
  ["--tuning-file <file>", "TUNING_FILE", ".cache/tuning.json", "where measured choices are kept"],
  ["--host <address>", "HOST", "0.0.0.0", "address to listen on"],
  ["--port <number>", "PORT", 8500, "port to listen on; 0 takes a free one", integer(0, 65535)],
  ["--public-url <url>", "PUBLIC_URL", undefined, "start of image URLs in answers", url],
  ["--no-trust-proxy", "NO_TRUST_PROXY", true, "ignore X-Forwarded-* headers", negated],
  ["--cors-origin <list>", "CORS_ORIGIN", ["*"], "allowed origins, comma-separated", list],
  ["--api-key <key>", "API_KEY", undefined, "key that clients must send", apiKey],
  ["--image-dir <folder>", "IMAGE_DIR", "images", "where finished images are kept"],
  ["--image-ttl <seconds>", "IMAGE_TTL", 86400, "age at which images go; 0: never", integer(0)],
  ["--image-max-bytes <bytes>", "IMAGE_MAX_BYTES", 2 ** 30, "oldest go above; 0: no bound", bytes],
  ["--max-concurrency <n>", "MAX_CONCURRENCY", 64, "requests running at once", integer(1, 4096)],
  ["--max-queue <n>", "MAX_QUEUE", 64, "requests waiting; beyond: 429", integer(0, 100000)],
  ["--max-body-bytes <bytes>", "MAX_BODY_BYTES", 2 ** 20, "size of a request's body", bytes],
  ["--body-timeout <seconds>", "BODY_TIMEOUT", 30, "time for sending a body", integer(1, 3600)],
  ["--max-size <pixels>", "MAX_SIZE", 2048, "largest height or width", integer(16, 16384)],
  ["--max-steps <n>", "MAX_STEPS", 150, "largest num_inference_steps", integer(1, 10000)],
  ["--max-images <n>", "MAX_IMAGES", 8, "largest num_images_per_prompt", integer(1, 1024)],
  ["--max-prompt-length <n>", "MAX_PROMPT_LENGTH", 10000, "characters a prompt", integer(1)],
  ["--drain-seconds <n>", "DRAIN_SECONDS", 30, "time to finish at shutdown", integer(0, 86400)],
  ["--log-prompts", "LOG_PROMPTS", false, "write prompt texts into the log", flag],
  ["--web-dir <folder>", "WEB_DIR", "dist/web", "folder of the bundled page"],
  [
    "--browser-model <folder>",
    "BROWSER_MODEL_DIR",
    "fixtures/sd35-tiny",
    "model that the page may load, served under /model/; none: do not serve one",
  ],
];

/** Environment variables that the server reads; the task's `--allow-env` lists them. */
export const environmentVariables: readonly string[] = table.flatMap(([, variable]) => variable);

/**
 * Reads the flags, then the environment for what they leave open, then the defaults.
 *
 * @param args without the program's name
 * @param environment looks a variable up; unset and empty are the same
 * @throws {ConfigExit} with the text to print: code 0 for `--help`, 2 for a wrong value
 */
export function parseConfig(
  args: readonly string[],
  environment: (name: string) => string | undefined,
): ServerConfig {
  let output = "";
  const write = (text: string) => void (output += text);
  const command = new Command("deno task serve")
    .description("Serves one Stable Diffusion 3 / 3.5 model over HTTP.")
    .exitOverride()
    .allowExcessArguments(false)
    .configureOutput({
      writeOut: write,
      writeErr: write,
      getOutHelpWidth: () => 100,
      getErrHelpWidth: () => 100,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    });
  const options = table.map(([name, names, fallback, help, parse]) => {
    const variables = [names].flat();
    const option = new Option(name, `${help} [${variables.join("] [")}]`);
    if (fallback !== undefined && !option.negate) option.default(fallback);
    if (parse !== undefined && option.required) option.argParser(parse);
    command.addOption(option);
    return { option, variables, parse };
  });
  try {
    command.parse([...args], { from: "user" });
    for (const { option, variables, parse } of options) {
      const key = option.attributeName();
      const variable = variables.find((name) => environment(name));
      if (variable === undefined) continue;
      const text = environment(variable)!;
      if (command.getOptionValueSource(key) === "cli") continue;
      try {
        command.setOptionValueWithSource(key, parse === undefined ? text : parse(text), "env");
      } catch (error) {
        if (!(error instanceof InvalidArgumentError)) throw error;
        throw new ConfigExit(2, `error: environment variable ${variable}: ${error.message}\n`);
      }
    }
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    throw new ConfigExit(error.exitCode === 0 ? 0 : 2, output || `${error.message}\n`);
  }
  const values = command.opts();
  if (values.browserModel === "none") delete values.browserModel;
  return values as ServerConfig;
}

/** The configuration as it is printed at start-up: everything but the key itself. */
export function describeConfig(config: ServerConfig): Record<string, unknown> {
  return { ...config, apiKey: config.apiKey === undefined ? "none" : "set" };
}

function integer(minimum: number, maximum = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : NaN;
    if (!(value >= minimum && value <= maximum)) {
      const top = maximum === Number.MAX_SAFE_INTEGER ? "" : ` to ${maximum}`;
      throw new InvalidArgumentError(`Give a whole number from ${minimum}${top}, not "${text}"`);
    }
    return value;
  };
}

function bytes(text: string): number {
  const match = /^(\d+)\s*([KMGT]?)(?:i?B)?$/i.exec(text);
  if (match === null) {
    throw new InvalidArgumentError(`Give bytes such as 500000, 512K, 2G, not "${text}"`);
  }
  const power = ["", "K", "M", "G", "T"].indexOf((match[2] ?? "").toUpperCase());
  return Number(match[1]) * 1024 ** power;
}

function oneOf(...allowed: string[]): (text: string) => string {
  return (text) => {
    if (allowed.includes(text)) return text;
    throw new InvalidArgumentError(`Give one of ${allowed.join(", ")}, not "${text}"`);
  };
}

function list(text: string): string[] {
  return text.split(",").map((item) => item.trim()).filter((item) => item !== "");
}

function url(text: string): string {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw new InvalidArgumentError(`Give an http or https URL, not "${text}"`);
  }
  return text.replace(/\/+$/, "");
}

function apiKey(text: string): string {
  // The characters of RFC 6750's bearer token: another could never arrive in the header.
  if (/^[A-Za-z0-9._~+/-]+=*$/.test(text)) return text;
  throw new InvalidArgumentError("Use letters, digits and . _ ~ + / - in an API key");
}

/** An environment variable that is a yes or no. */
function flag(text: string): boolean {
  if (/^(1|true|yes|on)$/i.test(text)) return true;
  if (/^(0|false|no|off)$/i.test(text)) return false;
  throw new InvalidArgumentError(`Give 1 or 0, not "${text}"`);
}

function negated(text: string): boolean {
  return !flag(text);
}
