import { byId, el, iconButton, textButton } from "./dom.ts";
import { formatSize } from "./format.ts";
import { notify } from "./notify.ts";
import { type GalleryEntry, GalleryStore } from "./storage.ts";

export interface GalleryActions {
  useSettings(entry: GalleryEntry): void;
  copyCurl(entry: GalleryEntry): void;
  usePrompt(prompt: string): void;
  open(entry: GalleryEntry): void;
}

const examples = [
  "a red circle on a blue background",
  "a panda on a green background",
  "an emoji of a pizza",
];

/** The finished images, newest first, kept in the browser's own storage where it has one. */
export class Gallery {
  readonly #list = byId("gallery", HTMLUListElement);
  readonly #clear = byId("gallery-clear", HTMLButtonElement);
  readonly #actions: GalleryActions;
  readonly #tiles = new Map<string, { entry: GalleryEntry; url: string; tile: HTMLLIElement }>();
  #store: GalleryStore | undefined;

  constructor(actions: GalleryActions) {
    this.#actions = actions;
    byId("examples", HTMLElement).append(
      ...examples.map((prompt) =>
        textButton(prompt, () => actions.usePrompt(prompt), { class: "button" })
      ),
    );
    const ask = byId("ask-clear", HTMLDialogElement);
    this.#clear.addEventListener("click", () => ask.showModal());
    ask.addEventListener("close", () => {
      if (ask.returnValue === "delete") void this.#deleteAll();
      ask.returnValue = "";
    });
  }

  /** Shows what earlier visits left. */
  async load(): Promise<void> {
    try {
      this.#store = await GalleryStore.open();
      const entries = await this.#store.list();
      for (const entry of entries.reverse()) {
        this.#show(entry);
        this.#tiles.get(entry.id)?.tile.setAttribute("data-kept", "");
      }
    } catch (error) {
      notify(`The gallery cannot be kept in this browser: ${String((error as Error).message)}`);
    }
    this.#count();
  }

  /** Entries from newest to oldest, for walking through them. */
  get entries(): GalleryEntry[] {
    return [...this.#tiles.values()].map(({ entry }) => entry).reverse();
  }

  urlOf(entry: GalleryEntry): string {
    return this.#tiles.get(entry.id)?.url ?? "";
  }

  async add(entry: GalleryEntry): Promise<void> {
    this.#show(entry);
    this.#count();
    try {
      for (const id of await this.#store?.add(entry) ?? []) this.#remove(id);
      this.#tiles.get(entry.id)?.tile.setAttribute("data-kept", "");
    } catch (error) {
      notify(`The image is shown but not kept: ${String((error as Error).message)}`);
    }
    this.#count();
  }

  async delete(entry: GalleryEntry): Promise<void> {
    this.#remove(entry.id);
    this.#count();
    await this.#store?.delete(entry.id);
  }

  async #deleteAll(): Promise<void> {
    for (const id of [...this.#tiles.keys()]) this.#remove(id);
    this.#count();
    await this.#store?.clear();
  }

  #show(entry: GalleryEntry): void {
    const { parameters: p } = entry;
    const url = URL.createObjectURL(entry.blob);
    const facts = [
      formatSize(p.width, p.height),
      `${p.sigmas?.length ?? p.numInferenceSteps} steps`,
      `guidance ${p.guidanceScale}`,
      `seed ${entry.seed}`,
    ];
    const tile = el(
      "li",
      { class: "tile", "data-id": entry.id },
      el(
        "button",
        {
          type: "button",
          class: "frame",
          "aria-label": `Open image: ${p.prompt || "no prompt"}`,
          onclick: () => this.#actions.open(entry),
        },
        el("img", { src: url, alt: p.prompt, width: p.width, height: p.height }),
      ),
      el("p", { class: "prompt" }, p.prompt || "(no prompt)"),
      el("p", { class: "facts" }, facts.join(" · ")),
      el(
        "div",
        { class: "actions" },
        iconButton("settings", "Use these settings", () => this.#actions.useSettings(entry)),
        iconButton("copy", "Copy as curl", () => this.#actions.copyCurl(entry)),
        iconButton("download", "Download", () => download(entry, url)),
      ),
    );
    this.#tiles.set(entry.id, { entry, url, tile });
    this.#list.prepend(tile);
  }

  #remove(id: string): void {
    const shown = this.#tiles.get(id);
    if (shown === undefined) return;
    shown.tile.remove();
    URL.revokeObjectURL(shown.url);
    this.#tiles.delete(id);
  }

  #count(): void {
    const count = this.#tiles.size;
    byId("gallery-count", HTMLElement).textContent = count === 0 ? "" : String(count);
    byId("gallery-empty", HTMLElement).hidden = count > 0;
    this.#clear.hidden = count === 0;
  }
}

/** Saves the PNG under a name made of its prompt and seed. */
export function download(entry: GalleryEntry, url: string): void {
  const words = entry.parameters.prompt.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-");
  const name = `${words.replace(/^-|-$/g, "").slice(0, 60) || "image"}-${entry.seed}.png`;
  el("a", { href: url, download: name }).click();
}
