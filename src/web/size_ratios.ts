import type { FieldFacts } from "../requests/fields.ts";
import { byId, el } from "./dom.ts";

/** Offered shapes, as width : height. */
const ratios: readonly [number, number][] = [[1, 1], [4, 3], [3, 4], [16, 9], [9, 16]];
/** Longer side of a shape's drawing, in pixels of the page. */
const iconSize = 18;

/** Buttons for sizes of about the model's own area, in its steps and bounds. */
export class SizeRatios {
  readonly #element = byId("ratios", HTMLElement);
  readonly #onPick: (width: number, height: number) => void;

  constructor(onPick: (width: number, height: number) => void) {
    this.#onPick = onPick;
  }

  /** @param fields what the fields take: `width` and `height`, with the model's own size */
  offer(fields: Readonly<Record<string, FieldFacts>>): void {
    const { width, height } = fields;
    if (!width?.step || !height) return;
    const { step, maximum } = width;
    const area = Number(width.default) * Number(height.default);
    // By the size: small models round several shapes to the same one.
    const buttons = new Map<string, HTMLButtonElement>();
    for (const [across, down] of ratios) {
      const unit = Math.sqrt(area / (across * down));
      const fit = (part: number) => {
        const side = Math.round(part * unit / step) * step;
        return Math.min(Math.max(side, step), maximum);
      };
      const size: [number, number] = [fit(across), fit(down)];
      if (!buttons.has(size.join("x"))) {
        buttons.set(size.join("x"), this.#button(across, down, size));
      }
    }
    this.#element.replaceChildren(...buttons.values());
  }

  /** Marks the button of the size in the form, if there is one. */
  mark(width: string, height: string): void {
    for (const button of this.#element.querySelectorAll("button")) {
      const pressed = button.dataset.width === width && button.dataset.height === height;
      button.setAttribute("aria-pressed", String(pressed));
    }
  }

  #button(across: number, down: number, [width, height]: [number, number]): HTMLButtonElement {
    const shape = el("i");
    shape.style.width = `${iconSize * Math.min(1, across / down)}px`;
    shape.style.height = `${iconSize * Math.min(1, down / across)}px`;
    return el(
      "button",
      {
        type: "button",
        class: "ratio",
        "data-width": width,
        "data-height": height,
        "aria-label": `${across} to ${down}: ${width} by ${height} pixels`,
        title: `${width} × ${height}`,
        onclick: () => this.#onPick(width, height),
      },
      shape,
      `${across}:${down}`,
    );
  }
}
