/** The life of the server process: flags, socket, model, application, signals, end. */

import { createApp } from "./app.ts";
import { describeConfig, environmentVariables, parseConfig, type ServerConfig } from "./config.ts";
import type { SupervisedEngine } from "./engine.ts";
import {
  ConfigExit,
  type ErrorBody,
  StartError,
  toErrorResponse,
  UnavailableError,
} from "./errors.ts";
import { ImageStore } from "./images.ts";
import { createLogger, errorFields, type Logger } from "./log.ts";
import { PngEncoder } from "./png_encoder.ts";
import { directorySource } from "../weights/deno_source.ts";
import { wrongKind } from "../weights/wrong_kind.ts";

/** Opens the model that the configuration names. */
export type StartEngine = (config: ServerConfig, log: Logger) => Promise<SupervisedEngine>;

/** Seconds that answers which are under way get after the last job has ended. */
const lastAnswersSeconds = 5;
const sweepSeconds = 30;

export interface RunningServer {
  readonly url: string;
  /** The exit code, once everything has ended. */
  readonly finished: Promise<number>;
  /** Ends in order; called again, it no longer waits for running requests. */
  stop(reason: string): void;
}

/**
 * The whole program. Resolves with the exit code.
 *
 * @param args command-line arguments without the program's name
 */
export async function main(
  args: readonly string[],
  startEngine: StartEngine,
  log: Logger = createLogger(),
): Promise<number> {
  let config: ServerConfig;
  try {
    config = parseConfig(args, readEnvironment);
  } catch (error) {
    if (!(error instanceof ConfigExit)) throw error;
    write(error.code === 0 ? Deno.stdout : Deno.stderr, error.message);
    return error.code;
  }
  // One forgotten promise must not end everybody's requests; it is logged as the bug it is.
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    log({ level: "error", event: "unhandled_rejection", ...errorFields(event.reason) });
  });
  log({ level: "info", event: "start", config: describeConfig(config) });
  let server: RunningServer;
  try {
    server = await startServer(config, startEngine, log);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const fields = error instanceof StartError ? { error: message } : errorFields(error);
    log({ level: "error", event: "start_failed", ...fields });
    write(Deno.stderr, `error: ${message}\n`);
    return 1;
  }
  let signals = 0;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => {
      if (++signals > 2) Deno.exit(130);
      server.stop(signal);
    });
  }
  return await server.finished;
}

/**
 * Takes the port first, so that a taken one is known before minutes of loading; until the model is
 * there every request is told to come back.
 *
 * @throws {StartError} if the port is taken, or a folder or the model cannot be used
 */
export async function startServer(
  config: ServerConfig,
  startEngine: StartEngine,
  log: Logger,
): Promise<RunningServer> {
  let handler: Deno.ServeHandler = loading;
  const server = listen(config, (request, info) => handler(request, info), log);
  const url = localUrl(config.host, server.addr.port);
  log({ level: "info", event: "listening", url });
  let images: ImageStore;
  let engine: SupervisedEngine;
  try {
    images = await openImages(config);
    await checkModel(config.model);
    engine = await startEngine(config, log);
  } catch (error) {
    await server.shutdown();
    throw error;
  }
  const encoder = new PngEncoder();
  const serverApp = createApp({
    engine,
    config,
    images,
    log,
    encodePng: encoder.encode,
    engineHealth: () => engine.health(),
  });
  handler = serverApp.app.fetch;
  const { model, adapter, tuning } = engine.status();
  if (tuning?.problem !== undefined) {
    log({ level: "warn", event: "tuning_problem", file: config.tuningFile, error: tuning.problem });
  }
  log({ level: "info", event: "ready", url, model: model.name, adapter: adapter.description });
  const sweeper = setInterval(() => {
    images.sweep().catch((error) =>
      log({ level: "error", event: "sweep_failed", ...errorFields(error) })
    );
  }, sweepSeconds * 1000);

  const finished = Promise.withResolvers<number>();
  let stopping = false;
  const stop = async (reason: string, exitCode: number) => {
    if (stopping) {
      await serverApp.jobs.drain(0);
      return;
    }
    stopping = true;
    log({ level: "info", event: "stopping", reason, ...serverApp.jobs.counts() });
    await serverApp.jobs.drain(config.drainSeconds);
    await Promise.race([server.shutdown(), wait(lastAnswersSeconds)]);
    clearInterval(sweeper);
    encoder.close();
    await engine.close();
    log({ level: "info", event: "stopped" });
    finished.resolve(exitCode);
  };
  engine.closed.then((cause) => {
    if (cause === undefined) return;
    log({ level: "error", event: "engine_failed", ...errorFields(cause) });
    write(Deno.stderr, `error: ${cause.message}\n`);
    return stop("the engine failed", 1);
  });
  return { url, finished: finished.promise, stop: (reason) => void stop(reason, 0) };
}

function listen(config: ServerConfig, handler: Deno.ServeHandler, log: Logger) {
  const { host: hostname, port } = config;
  try {
    return Deno.serve({
      hostname,
      port,
      onListen: () => {},
      onError(error) {
        log({ level: "error", event: "error", ...errorFields(error) });
        return Response.json(toErrorResponse(error).body, { status: 500 });
      },
    }, handler) as Deno.HttpServer<Deno.NetAddr>;
  } catch (error) {
    const where = `port ${port} on ${hostname}`;
    if (error instanceof Deno.errors.AddrInUse) {
      throw new StartError(`${where} is taken; end the other program or choose another --port`);
    }
    if (error instanceof Deno.errors.NotCapable) {
      throw new StartError(`${where} is not permitted: run with --allow-net=${hostname}`);
    }
    throw new StartError(`Cannot listen: ${where}: ${(error as Error).message}`);
  }
}

async function openImages(config: ServerConfig): Promise<ImageStore> {
  const { imageDir, imageTtl, imageMaxBytes } = config;
  try {
    return await ImageStore.open(imageDir, { ttlSeconds: imageTtl, maxBytes: imageMaxBytes });
  } catch (error) {
    const reason = error instanceof Deno.errors.NotCapable
      ? `run with --allow-read and --allow-write=${imageDir}`
      : (error as Error).message;
    throw new StartError(`--image-dir: cannot use "${imageDir}": ${reason}`);
  }
}

/** The loader checks the rest; a wrong path is the common mistake and gets the short answer. */
async function checkModel(model: string): Promise<void> {
  let wrong: string | undefined;
  try {
    wrong = await wrongKind(directorySource(model));
  } catch (error) {
    wrong = `cannot use "${model}": ${(error as Error).message}`;
  }
  if (wrong !== undefined) throw new StartError(`--model: ${wrong}`);
}

/** Answers while the model is being loaded. */
function loading(request: Request): Response {
  const { pathname } = new URL(request.url);
  if (pathname === "/healthz") return Response.json({ status: "ok" });
  if (pathname === "/readyz") return Response.json({ status: "loading" }, { status: 503 });
  const { status, body, headers } = toErrorResponse(
    new UnavailableError("The model is being loaded"),
  );
  return Response.json(body satisfies ErrorBody, { status, headers: { ...headers } });
}

/** A variable that may not be read stops the start: it might be the key. */
function readEnvironment(name: string): string | undefined {
  try {
    return Deno.env.get(name);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
    const list = environmentVariables.join(",");
    throw new ConfigExit(2, `error: may not read ${name}: run with --allow-env=${list}\n`);
  }
}

function localUrl(host: string, port: number): string {
  const anywhere = host === "0.0.0.0" || host === "::";
  const name = anywhere ? "localhost" : host.includes(":") ? `[${host}]` : host;
  return `http://${name}:${port}`;
}

function wait(seconds: number): Promise<void> {
  return new Promise((resolve) => {
    Deno.unrefTimer(setTimeout(resolve, seconds * 1000));
  });
}

function write(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  stream.writeSync(new TextEncoder().encode(text));
}
