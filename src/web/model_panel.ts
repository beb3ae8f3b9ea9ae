import { byId, el, textButton } from "./dom.ts";
import { formatBytes } from "./format.ts";
import { fromDrop, fromInput, type PickedFolder } from "./picked_files.ts";

/** What the panel can show of the model in this browser. */
export type PanelState =
  | { readonly is: "checking" }
  | { readonly is: "impossible"; readonly why: string }
  | { readonly is: "idle"; readonly offer: Offer | undefined; readonly error?: string | undefined }
  | { readonly is: "loading"; readonly name: string; readonly text: string; readonly part?: number }
  | { readonly is: "ready"; readonly name: string; readonly note?: string | undefined };

/** The model that the server has for the page. Bytes. */
export interface Offer {
  readonly name: string;
  readonly bytes: number;
}

export interface PanelActions {
  loadOffer(): void;
  loadFolder(folder: PickedFolder): void;
  stop(): void;
  unload(): void;
  forget(): void;
}

/** Where the model of "In your browser" is chosen, fetched and let go. */
export class ModelPanel {
  readonly #element = byId("model-panel", HTMLElement);
  readonly #actions: PanelActions;
  readonly #input = el("input", { type: "file", webkitdirectory: true, hidden: true });
  #state: PanelState = { is: "checking" };

  constructor(actions: PanelActions) {
    this.#actions = actions;
    this.#input.id = "model-folder";
    this.#input.addEventListener("change", () => {
      const folder = fromInput(this.#input);
      this.#input.value = "";
      if (folder !== undefined) actions.loadFolder(folder);
    });
    this.#acceptDrops();
    this.show(this.#state);
  }

  set visible(visible: boolean) {
    this.#element.hidden = !visible;
  }

  show(state: PanelState): void {
    const focused = this.#element.contains(document.activeElement);
    this.#state = state;
    this.#element.replaceChildren(el("h2", {}, "Model in this browser"), ...this.#content(state));
    // What had the focus is gone; the panel's first button is nearest to it.
    if (focused) this.#element.querySelector<HTMLElement>("button")?.focus();
  }

  /** Moves the bar of a shown loading state, without building the panel again. */
  move(text: string, part: number): void {
    const bar = this.#element.querySelector("progress");
    const line = this.#element.querySelector("p.said");
    if (bar === null || line === null) return;
    bar.value = part;
    line.textContent = text;
  }

  #content(state: PanelState): HTMLElement[] {
    switch (state.is) {
      case "checking":
        return [el("p", {}, "Looking for a GPU")];
      case "impossible":
        return [el("p", { class: "error", role: "alert" }, state.why)];
      case "idle":
        return this.#choices(state.offer, state.error);
      case "loading": {
        const bar = el("progress", { max: 1, "aria-label": "Loading the model" });
        if (state.part !== undefined) bar.value = state.part;
        return [
          el("p", { class: "said" }, state.text),
          bar,
          el("div", { class: "buttons" }, textButton("Stop", () => this.#actions.stop())),
        ];
      }
      case "ready":
        return [
          el("p", {}, `${state.name} is loaded. Prompts and images stay on this machine.`),
          ...(state.note ? [el("p", {}, state.note)] : []),
          el("div", { class: "buttons" }, textButton("Unload", () => this.#actions.unload())),
        ];
    }
  }

  #choices(offer: Offer | undefined, error: string | undefined): HTMLElement[] {
    const load = offer &&
      textButton(
        `Load ${offer.name}, ${formatBytes(offer.bytes)}`,
        () => this.#actions.loadOffer(),
      );
    return [
      ...(error ? [el("p", { class: "error", role: "alert" }, error)] : []),
      el(
        "p",
        { class: "drop" },
        "Runs on your own GPU. ",
        offer ? "Load the server's model, which stays here for the next visit, or drop" : "Drop",
        " the folder of a model in the diffusers layout here.",
      ),
      el(
        "div",
        { class: "buttons" },
        load,
        textButton("Choose a folder", () => this.#input.click()),
        textButton("Delete kept copies", () => this.#actions.forget(), { class: "button quiet" }),
        this.#input,
      ),
    ];
  }

  #acceptDrops(): void {
    const over = (event: DragEvent) => {
      if (this.#element.hidden || this.#state.is === "impossible") return;
      event.preventDefault();
      this.#element.dataset.over = String(event.type === "dragover");
    };
    for (const type of ["dragover", "dragleave"] as const) document.addEventListener(type, over);
    document.addEventListener("drop", (event) => {
      over(event);
      if (!event.defaultPrevented || event.dataTransfer === null) return;
      if (this.#state.is === "loading") return;
      void fromDrop(event.dataTransfer).then((folder) => {
        if (folder !== undefined) this.#actions.loadFolder(folder);
      });
    });
  }
}
