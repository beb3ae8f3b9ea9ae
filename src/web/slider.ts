import { byId } from "./dom.ts";

/** A slider beside a number field: a second handle on the same value, for the pointer only. */
export class Slider {
  readonly #range: HTMLInputElement;
  readonly #field: HTMLInputElement;

  /** @param onInput called when the slider has changed the field */
  constructor(rangeId: string, fieldId: string, onInput: () => void) {
    this.#range = byId(rangeId, HTMLInputElement);
    this.#field = byId(fieldId, HTMLInputElement);
    this.#range.addEventListener("input", () => {
      this.#field.value = this.#range.value;
      onInput();
    });
  }

  /** Moves the slider to the field's value, or to the default that its placeholder shows. */
  sync(): void {
    const { min, max } = this.#range;
    this.#range.value = this.#field.value || this.#field.placeholder;
    const filled = (this.#range.valueAsNumber - Number(min)) / (Number(max) - Number(min));
    this.#range.style.setProperty("--filled", `${100 * filled}%`);
  }
}
