import type { AdapterReport, MemoryReport, RequestCounts } from "../engine/types.ts";
import { byId, el } from "./dom.ts";
import { formatBytes } from "./format.ts";

/** What the strip shows of either place. */
export interface StripStatus {
  readonly model: string;
  readonly adapter: Pick<AdapterReport, "vendor" | "architecture" | "description">;
  readonly memory: MemoryReport;
  readonly requests: RequestCounts;
}

export type StripState =
  | { readonly state: "ready"; readonly status: StripStatus }
  | { readonly state: "wait" | "away"; readonly text: string };

/** The line that says who answers: model, adapter, memory, requests running and waiting. */
export class StatusStrip {
  readonly #element = byId("status", HTMLElement);
  #shown = "";

  show(state: StripState): void {
    const key = JSON.stringify(state);
    if (key === this.#shown) return;
    this.#shown = key;
    this.#element.replaceChildren(
      ...(state.state === "ready" ? parts(state.status) : [
        el("span", { class: "state", "data-state": state.state, role: "status" }, state.text),
      ]),
    );
  }
}

function parts({ model, adapter, memory, requests }: StripStatus): HTMLElement[] {
  const used = memory.weights + memory.arena + memory.requests + memory.cache;
  const total = Math.max(memory.budget, used);
  const name = adapter.description || adapter.architecture || adapter.vendor || "unnamed adapter";
  const owners = `weights ${formatBytes(memory.weights)}, arena ${formatBytes(memory.arena)}, ` +
    `requests ${formatBytes(memory.requests)}, cache ${formatBytes(memory.cache)}`;
  const meter = el("meter", { min: 0, max: Math.max(1, total), "aria-label": "GPU memory in use" });
  meter.value = used;
  meter.high = total * 0.9;
  return [
    el("span", { class: "state", "data-state": "ready" }, model),
    el("span", { class: "adapter", title: name }, el("span", {}, name)),
    el("span", { class: "memory", title: owners }, meter, formatBytes(used)),
    el("span", {}, `${requests.active} active`),
    el("span", {}, `${requests.waiting} waiting`),
  ];
}
