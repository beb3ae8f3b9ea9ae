/**
 * The worker's side of an engine: any `Engine` behind `postMessage`. The Deno worker and the
 * page's worker differ only in the function that opens the engine.
 */

import type { Engine, ProgressEvent } from "../types.ts";
import {
  type Ask,
  type MessageEndpoint,
  pixelBuffers,
  type WorkerReply,
  type WorkerRequest,
} from "./protocol.ts";
import { toWireError } from "./wire_error.ts";

/** Memory and counts change with every request; more often than this nobody looks. */
const statusIntervalMs = 200;

/**
 * Answers the messages that arrive at `scope` with the engine that `createEngine` opens.
 *
 * @param scope the worker's `self`, or one end of a MessageChannel
 * @param createEngine gets the `options` that the client passed to `connectEngine`
 */
export function serveEngine(
  scope: MessageEndpoint,
  createEngine: (options: unknown) => Promise<Engine>,
): void {
  const running = new Map<number, AbortController>();
  let opening: Promise<Engine> | undefined;
  let closing = false;

  const reply = (message: WorkerReply, transfer: Transferable[] = []) =>
    scope.postMessage(message, transfer);

  const statusSoon = throttled(statusIntervalMs, (engine: Engine) => {
    if (!closing) reply({ type: "status", status: engine.status() });
  });

  async function open(options: unknown): Promise<void> {
    if (opening !== undefined) throw new TypeError("The worker is opened once: it is open already");
    opening = createEngine(options);
    // The rejection is reported below; a generate that waits for it reports it as well.
    opening.catch(() => {});
    try {
      const engine = await opening;
      reply({ type: "opened", status: engine.status() });
      const cause = await engine.closed;
      closing = true;
      reply({ type: "closed", error: cause === undefined ? undefined : toWireError(cause) });
    } catch (error) {
      reply({ type: "openFailed", error: toWireError(error) });
    }
  }

  async function generate(message: Ask): Promise<void> {
    const { id, previewEvery } = message;
    const controller = new AbortController();
    running.set(id, controller);
    try {
      if (opening === undefined) throw new TypeError("The worker must be opened before it is used");
      const engine = await opening;
      const onProgress = (event: ProgressEvent) => {
        const previews = event.type === "progress" ? event.previews : undefined;
        reply({ type: "progress", id, event }, pixelBuffers(previews ?? []));
        statusSoon(engine);
      };
      const options = { signal: controller.signal, onProgress, previewEvery };
      const generated = message.type === "run"
        ? engine.run(message.request, options)
        : engine.generate(message.request, options);
      statusSoon(engine);
      const result = await generated;
      // Counts first: who hears "done" and asks for the status sees the request gone.
      reply({ type: "status", status: engine.status() });
      reply({ type: "done", id, result }, pixelBuffers(result.images));
    } catch (error) {
      const engine = await opening?.catch(() => undefined);
      if (engine !== undefined && !closing) reply({ type: "status", status: engine.status() });
      reply({ type: "failed", id, error: toWireError(error) });
    } finally {
      running.delete(id);
    }
  }

  async function close(): Promise<void> {
    for (const controller of running.values()) controller.abort();
    const engine = await opening?.catch(() => undefined);
    if (engine === undefined) {
      reply({ type: "closed" });
      return;
    }
    try {
      await engine.close();
    } catch (error) {
      reply({ type: "closed", error: toWireError(error) });
    }
  }

  scope.addEventListener("message", (event: MessageEvent) => {
    const message = event.data as WorkerRequest;
    switch (message.type) {
      case "open":
        open(message.options).catch((error) =>
          reply({ type: "openFailed", error: toWireError(error) })
        );
        break;
      case "generate":
      case "run":
        generate(message);
        break;
      case "abort":
        running.get(message.id)?.abort();
        break;
      case "close":
        close();
        break;
    }
  });
}

/** Calls at once, then at most every `intervalMs`, and once more after the last call. */
function throttled<T>(intervalMs: number, call: (argument: T) => void): (argument: T) => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let again: { argument: T } | undefined;
  const run = (argument: T) => {
    if (timer !== undefined) {
      again = { argument };
      return;
    }
    call(argument);
    timer = setTimeout(() => {
      timer = undefined;
      const pending = again;
      again = undefined;
      if (pending !== undefined) run(pending.argument);
    }, intervalMs);
  };
  return run;
}
