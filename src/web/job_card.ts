import type { GenerateRequest } from "../requests/types.ts";
import { el, textButton } from "./dom.ts";
import { formatSeconds } from "./format.ts";
import type { RunEvent } from "./runner.ts";

export interface JobCardActions {
  cancel(): void;
  retry(): void;
}

/** The tile of one request that is on its way: its place in the queue, its preview, its progress. */
export class JobCard {
  readonly element: HTMLLIElement;
  readonly #frame = el("div", { class: "frame" });
  readonly #progress = el("progress", { "aria-label": "Progress" });
  readonly #said = el("p", { class: "said" });
  readonly #buttons = el("div", { class: "buttons" });
  readonly #actions: JobCardActions;
  #firstStep: { step: number; at: number } | undefined;

  constructor(request: GenerateRequest, actions: JobCardActions) {
    this.#actions = actions;
    this.element = el(
      "li",
      { class: "tile job" },
      this.#frame,
      this.#progress,
      el("div", { class: "line" }, this.#said, this.#buttons),
      el("p", { class: "prompt" }, request.prompt || "(no prompt)"),
    );
    this.#show("sent", "", "Sending");
    const cancel = textButton("Cancel", () => this.#actions.cancel());
    cancel.setAttribute("aria-label", `Cancel: ${request.prompt || "no prompt"}`);
    this.#buttons.replaceChildren(cancel);
  }

  /** Shows what the request just said. */
  hear(event: RunEvent): void {
    if (event.type === "preparing") {
      this.#show("running", "", event.text);
      return;
    }
    if (event.type === "queued") {
      if (event.position > 0) this.#show("queued", `${event.position}`, "Place in the queue");
      else this.#show("running", "", "Starting");
      return;
    }
    const { step, steps, previews } = event;
    this.element.dataset.state = "running";
    this.#progress.max = steps;
    this.#progress.value = step;
    this.#firstStep ??= { step, at: performance.now() };
    const pace = (performance.now() - this.#firstStep.at) / 1000 / (step - this.#firstStep.step);
    const left = step > this.#firstStep.step && step < steps
      ? `, ${formatSeconds(pace * (steps - step))} left`
      : "";
    this.#said.textContent = step === steps ? "Decoding" : `Step ${step} of ${steps}${left}`;
    if (previews.length > 0) this.#showPreviews(previews);
    else if (this.#frame.querySelector("img") === null) {
      this.#frame.replaceChildren(
        el("p", { class: "waiting" }, el("strong", {}, `${Math.round(100 * step / steps)} %`)),
      );
    }
  }

  /** The request ended without images; the card stays until it is dismissed or tried again. */
  fail(title: string, reason: string): void {
    this.element.dataset.state = "failed";
    this.#progress.hidden = true;
    this.#frame.replaceChildren(el("p", { class: "waiting" }, reason));
    this.#said.textContent = title;
    this.#buttons.replaceChildren(
      textButton("Try again", () => this.#actions.retry()),
      textButton("Dismiss", () => this.element.remove()),
    );
  }

  #show(state: string, large: string, text: string): void {
    this.element.dataset.state = state;
    this.#progress.removeAttribute("value");
    this.#said.textContent = text;
    this.#frame.replaceChildren(
      el("p", { class: "waiting" }, large ? el("strong", {}, large) : undefined, large ? text : ""),
    );
    if (large) this.#said.textContent = "Waiting";
  }

  #showPreviews(urls: readonly string[]): void {
    this.#frame.dataset.count = urls.length <= 2 ? String(urls.length) : "many";
    const images = [...this.#frame.querySelectorAll("img")];
    if (images.length !== urls.length) {
      this.#frame.replaceChildren(...urls.map((url) => el("img", { src: url, alt: "Preview" })));
      return;
    }
    // The elements are kept: a replaced image would flicker until its source is decoded.
    images.forEach((image, index) => image.src = urls[index] ?? image.src);
  }
}
