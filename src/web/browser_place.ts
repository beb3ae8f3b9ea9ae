import { DeviceLostError } from "../gpu/errors.ts";
import { BusyError, InvalidRequestError } from "../requests/errors.ts";
import type { Engine } from "../engine/types.ts";
import { fieldFacts } from "../requests/fields.ts";
import { imageParameters } from "../requests/json.ts";
import type { GenerateRequest } from "../requests/types.ts";
import { WorkerDiedError } from "../engine/errors.ts";
import { type Opening, openInWorker, unlessAborted } from "./browser_engine.ts";
import type { LoadingMessage, OpenOptions } from "./engine_messages.ts";
import { formatBytes } from "./format.ts";
import { forgetModels, type ModelListing, totalBytes } from "./model_cache.ts";
import { ModelPanel } from "./model_panel.ts";
import { notify } from "./notify.ts";
import type { PickedFolder } from "./picked_files.ts";
import { toDataUrl, toPngBlob } from "./pixels.ts";
import type { FormModel } from "./request_form.ts";
import type { Runner, RunOptions, RunResult } from "./runner.ts";
import type { StripState } from "./status_strip.ts";
import { webgpuProblem } from "./webgpu_support.ts";
import { RunError } from "./errors.ts";

const statusPeriodMs = 1000;

/** Runs requests on the visitor's own GPU: the same engine as the server's, in a Web Worker. */
export class BrowserPlace implements Runner {
  readonly place = "browser";
  readonly #base: string;
  readonly #apiKey: () => string | undefined;
  readonly #onState: () => void;
  readonly #panel: ModelPanel;
  #listing: ModelListing | undefined;
  #problem: string | undefined;
  #entered = false;
  #engine: Engine | undefined;
  #opening: Opening | undefined;

  /** @param onState called when `state()` would answer something new */
  constructor(base: string, apiKey: () => string | undefined, onState: () => void) {
    this.#base = base;
    this.#apiKey = apiKey;
    this.#onState = onState;
    const ignore = () => {/* the panel has shown the reason */};
    this.#panel = new ModelPanel({
      loadOffer: () => void this.#openOffer().catch(ignore),
      loadFolder: (folder) => void this.#openFolder(folder).catch(ignore),
      stop: () => this.#opening?.stop(),
      unload: () => void this.#engine?.close(),
      forget: () => void this.#forget(),
    });
    setInterval(() => {
      if (this.#engine !== undefined) this.#onState();
    }, statusPeriodMs);
  }

  /** The visitor chose this place: looks for a GPU and for the server's model. */
  async enter(): Promise<void> {
    this.#panel.visible = true;
    if (this.#entered) return;
    this.#entered = true;
    this.#problem = await webgpuProblem();
    if (this.#problem !== undefined) {
      this.#panel.show({ is: "impossible", why: this.#problem });
    } else {
      this.#listing = await this.#fetchListing();
      this.#showIdle();
    }
    this.#onState();
  }

  leave(): void {
    this.#panel.visible = false;
  }

  state(): { strip: StripState; model?: FormModel } {
    if (this.#problem !== undefined) return { strip: { state: "away", text: "No WebGPU here" } };
    if (this.#engine === undefined) {
      const text = this.#opening === undefined ? "No model loaded" : "Loading the model";
      return { strip: { state: "wait", text } };
    }
    const status = this.#engine.status();
    const { model, adapter, memory, requests } = status;
    return {
      strip: { state: "ready", status: { model: model.name, adapter, memory, requests } },
      model: fieldFacts(status),
    };
  }

  /** Loads the server's model first if none is there yet. */
  async run(request: GenerateRequest, options: RunOptions): Promise<RunResult> {
    if (this.#problem !== undefined) throw new RunError("failed", this.#problem);
    try {
      if (this.#engine === undefined) {
        options.onEvent({ type: "preparing", text: "Loading the model" });
      }
      const engine = this.#engine ??
        await unlessAborted(this.#opening?.engine ?? this.#openOffer(), options.signal);
      // The first request of a size takes longer: its kernels are compiled.
      const preparing = { type: "preparing", text: "Preparing the GPU" } as const;
      options.onEvent(preparing);
      const running = engine.generate(request, {
        signal: options.signal,
        previewEvery: options.previewEvery,
        onProgress: (event) => {
          if (event.type === "queued") options.onEvent(event.position > 0 ? event : preparing);
          else {
            const { step, steps, previews = [] } = event;
            options.onEvent({ type: "progress", step, steps, previews: previews.map(toDataUrl) });
          }
        },
      });
      this.#onState();
      const { images, parameters, timings, truncated } = await running;
      const model = engine.status().model.name;
      return {
        images: await Promise.all(images.map(async (image) => {
          // The same words as in a file of the server: how to draw this image alone.
          const words = { ...imageParameters(parameters, image.seed), model };
          const blob = await toPngBlob(image, { parameters: JSON.stringify(words) });
          return { blob, seed: image.seed };
        })),
        parameters,
        timings,
        truncated,
        model,
      };
    } catch (error) {
      throw asRunError(error, options.signal);
    } finally {
      this.#onState();
    }
  }

  async #openOffer(): Promise<Engine> {
    this.#listing ??= await this.#fetchListing();
    const listing = this.#listing;
    if (listing === undefined) {
      throw new RunError(
        "failed",
        "The server has no model for the page; choose a folder instead",
      );
    }
    // Asked for here: the browser may show a question, which a worker cannot.
    await navigator.storage?.persist?.();
    return await this.#open({
      from: "server",
      url: `${this.#base}model/`,
      listing,
      apiKey: this.#apiKey(),
    });
  }

  async #openFolder({ name, files }: PickedFolder): Promise<Engine> {
    if (this.#engine !== undefined) await this.#engine.close();
    return await this.#open({ from: "files", name, files });
  }

  async #open(options: OpenOptions): Promise<Engine> {
    const name = options.from === "server" ? options.listing.name : options.name;
    let note: string | undefined;
    const opening = openInWorker(options, (message) => {
      if (message.type === "loading") this.#moveBar(message);
      else note = `The model is not kept in this browser: ${message.reason}.`;
    });
    this.#opening = opening;
    this.#panel.show({ is: "loading", name, text: `Opening ${name}` });
    this.#onState();
    try {
      const opened = await opening.engine;
      this.#engine = opened;
      void opened.closed.then((cause) => this.#closed(opened, cause));
      this.#panel.show({ is: "ready", name, note });
      return opened;
    } catch (error) {
      const aborted = error instanceof DOMException && error.name === "AbortError";
      this.#showIdle(aborted ? undefined : (error as Error).message);
      throw error;
    } finally {
      this.#opening = undefined;
      this.#onState();
    }
  }

  #moveBar({ stage, bytesDone, bytesTotal }: LoadingMessage & { type: "loading" }): void {
    const action = stage === "fetch" ? "Fetching" : "Loading into GPU memory";
    const text = `${action}: ${formatBytes(bytesDone)} of ${formatBytes(bytesTotal)}`;
    this.#panel.move(text, bytesTotal === 0 ? 0 : bytesDone / bytesTotal);
  }

  #closed(engine: Engine, cause: Error | undefined): void {
    if (this.#engine !== engine) return;
    this.#engine = undefined;
    this.#showIdle(cause && `The model was lost: ${cause.message}`);
    this.#onState();
  }

  #showIdle(error?: string): void {
    const listing = this.#listing;
    const offer = listing && { name: listing.name, bytes: totalBytes(listing) };
    this.#panel.show({ is: "idle", offer, error });
  }

  /** The server's listing, or undefined where it has no model for the page or is away. */
  async #fetchListing(): Promise<ModelListing | undefined> {
    const key = this.#apiKey();
    try {
      const response = await fetch(new URL("model/index.json", this.#base), {
        headers: key === undefined ? {} : { Authorization: `Bearer ${key}` },
      });
      return response.ok ? await response.json() as ModelListing : undefined;
    } catch {
      return undefined;
    }
  }

  async #forget(): Promise<void> {
    try {
      await forgetModels();
      notify("Kept copies deleted");
    } catch (error) {
      notify(`Not deleted: ${(error as Error).message}`);
    }
  }
}

function asRunError(error: unknown, signal: AbortSignal): unknown {
  const cause = error;
  if (error instanceof RunError || signal.aborted) return error;
  if (error instanceof InvalidRequestError) {
    return new RunError("rejected", error.message, { param: error.param }, { cause });
  }
  if (error instanceof BusyError) {
    return new RunError("busy", error.message, { retryAfter: error.retryAfterSeconds }, { cause });
  }
  const lost = error instanceof DeviceLostError || error instanceof WorkerDiedError;
  return new RunError(lost ? "lost" : "failed", (error as Error).message, {}, { cause });
}
