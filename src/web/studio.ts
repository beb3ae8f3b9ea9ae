import type { GenerateRequest } from "../requests/types.ts";
import { byId } from "./dom.ts";
import { Gallery } from "./gallery.ts";
import { JobCard } from "./job_card.ts";
import { announce, copyText, notify } from "./notify.ts";
import { RequestForm } from "./request_form.ts";
import type { Runner, RunResult } from "./runner.ts";
import type { GalleryEntry } from "./storage.ts";
import { Viewer } from "./viewer.ts";
import { requestOfImage, toCurl } from "./wire.ts";
import { RunError } from "./errors.ts";

export interface StudioOptions {
  /** Where the page's interface lives, for commands to copy. */
  readonly base: string;
  /** Who answers a request made now. */
  readonly runner: () => Runner;
  /** Whether requests to the server carry a key. */
  readonly hasKey: () => boolean;
  /** A request was sent or has ended. */
  readonly onActivity: () => void;
  /** Asks for a key; true when there is a new one. */
  readonly askKey: () => Promise<boolean>;
}

/** Form, requests on their way and gallery, over whichever runner is chosen. */
export class Studio {
  readonly form: RequestForm;
  readonly gallery: Gallery;
  readonly #options: StudioOptions;
  readonly #jobs = byId("jobs", HTMLUListElement);

  constructor(options: StudioOptions) {
    this.#options = options;
    this.form = new RequestForm((request, previewEvery) =>
      void this.#run(request, previewEvery, options.runner())
    );
    const useSettings = (entry: GalleryEntry) => {
      this.form.fill(requestOfImage(entry.parameters, entry.seed));
      notify("Settings taken into the form");
    };
    const copyCurl = (entry: GalleryEntry) => void this.#copyCurl(entry);
    this.gallery = new Gallery({
      useSettings,
      copyCurl,
      usePrompt: (prompt) => this.form.setPrompt(prompt),
      open: (entry) => viewer.open(entry),
    });
    const viewer = new Viewer(this.gallery, { useSettings, copyCurl });
    const section = byId("jobs-section", HTMLElement);
    new MutationObserver(() => section.hidden = this.#jobs.childElementCount === 0)
      .observe(this.#jobs, { childList: true });
  }

  /** One request from its sending to its images, beside any others. */
  async #run(request: GenerateRequest, previewEvery: number, runner: Runner): Promise<void> {
    const controller = new AbortController();
    const card = new JobCard(request, {
      cancel: () => controller.abort(new DOMException("cancelled in the page", "AbortError")),
      retry: () => {
        card.element.remove();
        void this.#run(request, previewEvery, runner);
      },
    });
    this.#jobs.prepend(card.element);
    // On a phone the cards lie below the form.
    if (matchMedia("(max-width: 760px)").matches) {
      requestAnimationFrame(() => card.element.scrollIntoView({ block: "center" }));
    }
    try {
      const running = runner.run(request, {
        signal: controller.signal,
        previewEvery,
        onEvent: (event) => card.hear(event),
      }).finally(() => this.#options.onActivity());
      this.#options.onActivity();
      const result = await running;
      const kept = this.#keep(result, runner);
      card.element.remove();
      await kept;
    } catch (error) {
      if (controller.signal.aborted) {
        card.element.remove();
        announce("Cancelled");
        return;
      }
      await this.#explain(error, card, () => this.#run(request, previewEvery, runner));
    }
  }

  async #keep(result: RunResult, runner: Runner): Promise<void> {
    const { images, parameters, timings, model } = result;
    const now = Date.now();
    // The first image of a request comes first in the gallery, so it is added last.
    const kept = [...images].reverse().map((image, order) =>
      this.gallery.add({
        id: crypto.randomUUID?.() ?? `${now}-${Math.random()}`,
        // Times of their own: the gallery is in their order after a reload, too.
        created: now + order,
        blob: image.blob,
        seed: image.seed,
        parameters,
        timings,
        model,
        place: runner.place,
      })
    );
    announce(images.length === 1 ? "Image finished" : `${images.length} images finished`);
    const cut = result.truncated[0];
    if (cut !== undefined) {
      notify(`The ${cut.field.replace("_", " ")} was too long; left out: ${cut.removed.trim()}`);
    }
    await Promise.all(kept);
  }

  async #explain(error: unknown, card: JobCard, again: () => Promise<void>): Promise<void> {
    if (!(error instanceof RunError)) {
      card.fail("Failed", error instanceof Error ? error.message : String(error));
      announce("A request failed");
      throw error;
    }
    switch (error.kind) {
      case "rejected":
        card.element.remove();
        this.form.showError(error.message, error.details.param);
        return;
      case "unauthorized":
        card.fail("Not allowed", error.message);
        if (await this.#options.askKey()) {
          card.element.remove();
          await again();
        }
        return;
      case "busy": {
        const { retryAfter } = error.details;
        const later = retryAfter
          ? `${error.message.replace(/\.?$/, ".")} Try again in ${retryAfter} s.`
          : "";
        card.fail("Busy", later || error.message);
        break;
      }
      case "lost":
        card.fail("Lost", error.message);
        break;
      case "failed":
        card.fail("Failed", error.message);
        break;
    }
    announce(`A request ended: ${error.message}`);
  }

  async #copyCurl(entry: GalleryEntry): Promise<void> {
    const request = requestOfImage(entry.parameters, entry.seed);
    try {
      await copyText(toCurl(request, this.#options.base, this.#options.hasKey()));
      notify("Copied as curl");
    } catch (error) {
      notify(`Not copied: ${(error as Error).message}`);
    }
  }
}
