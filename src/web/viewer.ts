import { byId, el, iconButton, textButton } from "./dom.ts";
import { formatSeconds, formatSize } from "./format.ts";
import { download, type Gallery } from "./gallery.ts";
import type { GalleryEntry } from "./storage.ts";

export interface ViewerActions {
  useSettings(entry: GalleryEntry): void;
  copyCurl(entry: GalleryEntry): void;
}

/** One image large, with every parameter; arrow keys walk through the gallery, Escape closes. */
export class Viewer {
  readonly #dialog = byId("viewer", HTMLDialogElement);
  readonly #gallery: Gallery;
  readonly #actions: ViewerActions;
  #entry: GalleryEntry | undefined;

  constructor(gallery: Gallery, actions: ViewerActions) {
    this.#gallery = gallery;
    this.#actions = actions;
    this.#dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") this.#walk(-1);
      if (event.key === "ArrowRight") this.#walk(1);
    });
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
    this.#dialog.addEventListener("close", () => {
      const id = this.#entry?.id;
      document.querySelector<HTMLElement>(`[data-id="${id}"] .frame`)?.focus();
    });
  }

  open(entry: GalleryEntry): void {
    this.#show(entry);
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  #walk(by: number): void {
    const entries = this.#gallery.entries;
    const index = entries.findIndex(({ id }) => id === this.#entry?.id);
    const next = entries[index + by];
    if (next !== undefined) this.#show(next);
  }

  #show(entry: GalleryEntry): void {
    this.#entry = entry;
    const { parameters: p, timings } = entry;
    const entries = this.#gallery.entries;
    const index = entries.findIndex(({ id }) => id === entry.id);
    const url = this.#gallery.urlOf(entry);
    const facts: [string, string | undefined][] = [
      ["Size", formatSize(p.width, p.height)],
      ["Steps", p.sigmas ? `${p.sigmas.length} (own sigmas)` : String(p.numInferenceSteps)],
      ["Guidance", String(p.guidanceScale)],
      ["Seed", String(entry.seed)],
      ["T5 tokens", String(p.maxSequenceLength)],
      ["Negative prompt", p.negativePrompt || undefined],
      ["Model", entry.model],
      ["Made", `${entry.place === "server" ? "on the server" : "in this browser"}, ${when(entry)}`],
      ["Time", `${formatSeconds(timings.total)}, of it ${formatSeconds(timings.queued)} waiting`],
    ];
    // Small images are enlarged pixel by pixel: a blurred enlargement would hide what was drawn.
    const pixelated = Math.max(p.width, p.height) <= 256;
    const focused = this.#dialog.contains(document.activeElement)
      ? document.activeElement?.getAttribute("aria-label")
      : undefined;
    const earlier = iconButton("left", "Newer image", () => this.#walk(-1));
    const later = iconButton("right", "Older image", () => this.#walk(1));
    earlier.disabled = index <= 0;
    later.disabled = index >= entries.length - 1;
    this.#dialog.replaceChildren(el(
      "div",
      { class: "layout" },
      el(
        "div",
        { class: "bar" },
        el("span", { class: "position" }, `${index + 1} of ${entries.length}`),
        earlier,
        later,
        iconButton("close", "Close", () => this.#dialog.close()),
      ),
      el(
        "div",
        { class: "stage" },
        el("img", { src: url, alt: p.prompt, class: pixelated ? "pixelated" : "" }),
      ),
      el(
        "div",
        { class: "side" },
        el("p", { class: "text" }, p.prompt || "(no prompt)"),
        el(
          "dl",
          {},
          ...facts.filter(([, value]) => value !== undefined).flatMap(([name, value]) => [
            el("dt", {}, name),
            el("dd", {}, value),
          ]),
        ),
        el(
          "div",
          { class: "stack" },
          textButton("Use these settings", () => {
            this.#dialog.close();
            this.#actions.useSettings(entry);
          }, { icon: "settings" }),
          textButton("Copy as curl", () => this.#actions.copyCurl(entry), { icon: "copy" }),
          textButton("Download", () => download(entry, url), { icon: "download" }),
          textButton("Delete", () => void this.#delete(entry, index), {
            icon: "trash",
            class: "button danger",
          }),
        ),
      ),
    ));
    if (focused) {
      this.#dialog.querySelector<HTMLElement>(`[aria-label="${focused}"]:not(:disabled)`)?.focus();
    }
  }

  async #delete(entry: GalleryEntry, index: number): Promise<void> {
    await this.#gallery.delete(entry);
    const next = this.#gallery.entries[Math.min(index, this.#gallery.entries.length - 1)];
    if (next === undefined) this.#dialog.close();
    else this.#show(next);
  }
}

function when(entry: GalleryEntry): string {
  return new Date(entry.created).toLocaleString(undefined, {
    dateStyle: "medium",
    timeStyle: "short",
  });
}
