import { type FieldFacts, type FieldName, type Row, rows } from "../requests/fields.ts";
import { toJson } from "../requests/json.ts";
import type { GenerateRequest } from "../requests/types.ts";
import { byId, el, icon } from "./dom.ts";
import { SizeRatios } from "./size_ratios.ts";
import { Slider } from "./slider.ts";
import { loadDraft, saveDraft } from "./storage.ts";

/** What the form must know of the model that answers: what each field takes, by its JSON name. */
export type FormModel = Readonly<Record<string, FieldFacts>>;

const names = rows.map(({ json }) => json);
/** `Number` takes nothing for 0. */
const toNumber = (text: string) => text.trim() === "" ? NaN : Number(text);

const isNumber = ({ field }: Row) => field.kind === "whole" || field.kind === "number";

/**
 * The form. A field is read as it stands and judged by whoever runs the request; a refusal comes
 * back by the field's name and is shown there. An empty field means the model's default.
 */
export class RequestForm {
  readonly #form = byId("request", HTMLFormElement);
  readonly #error = byId("form-error", HTMLElement);
  readonly #ratios: SizeRatios;
  readonly #sliders: readonly Slider[];
  /** Inputs whose placeholder is the page's own. */
  readonly #worded: readonly string[];
  #model: FormModel | undefined;

  constructor(onSubmit: (request: GenerateRequest, previewEvery: number) => void) {
    for (const row of rows) if (document.getElementById(row.json) === null) addField(row);
    this.#worded = names.filter((name) => this.#field(name).placeholder !== "");
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.clearErrors();
      const request = this.#read();
      if (request !== undefined) onSubmit(request, Number(this.#select().value));
    });
    this.#form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.#form.requestSubmit();
    });
    this.#form.addEventListener("input", (event) => {
      const id = (event.target as HTMLElement).id;
      if (names.includes(id)) this.#showFieldError(id, undefined);
      this.#changed();
    });
    byId("shortcut", HTMLElement).textContent = /Mac|iPhone|iPad/.test(navigator.userAgent)
      ? "⌘ ↵"
      : "Ctrl ↵";
    this.#sliders = ([
      ["steps-range", "num_inference_steps"],
      ["guidance-range", "guidance_scale"],
    ] as const).map(([range, name]) =>
      new Slider(range, name, () => this.#showFieldError(name, undefined))
    );
    this.#ratios = new SizeRatios((width, height) => {
      this.#field("width").value = String(width);
      this.#field("height").value = String(height);
      this.#showFieldError("width", undefined);
      this.#showFieldError("height", undefined);
      this.#changed();
    });
    this.#button("swap", icon("swap"), () => {
      const width = this.#field("width").value;
      this.#field("width").value = this.#field("height").value;
      this.#field("height").value = width;
    });
    this.#button("seed-clear", icon("close"), () => this.#field("seed").value = "");
    this.#field("num_images_per_prompt").value = "1";
    this.#restore();
  }

  /** Takes the model's defaults as placeholders and offers its sizes. */
  setModel(model: FormModel): void {
    if (JSON.stringify(model) === JSON.stringify(this.#model)) return;
    this.#model = model;
    for (const row of rows) {
      const facts = model[row.json];
      const field = this.#field(row.json);
      if (facts === undefined) continue;
      if (!this.#worded.includes(row.json)) field.placeholder = String(facts.default ?? "");
      if (!isNumber(row)) continue;
      const { minimum, maximum, step } = facts;
      Object.assign(field, { min: minimum, max: maximum, ...(step && { step }) });
    }
    this.#ratios.offer(model);
    this.#changed();
  }

  setPrompt(prompt: string): void {
    const field = byId("prompt", HTMLTextAreaElement);
    field.value = prompt;
    field.focus();
    this.#changed();
  }

  /** Fills the form with a request; what it leaves open becomes the default again. */
  fill(request: GenerateRequest): void {
    this.clearErrors();
    const values = toJson(request);
    for (const name of names) {
      this.#field(name).value = values[name] === undefined ? "" : String(values[name]);
    }
    this.#changed();
    byId("prompt", HTMLTextAreaElement).focus();
  }

  clearErrors(): void {
    for (const name of names) this.#showFieldError(name, undefined);
    this.#error.hidden = true;
  }

  /** Shows a refusal at its field, or above the button where no field of the form has that name. */
  showError(message: string, param: string | undefined): void {
    // "sigmas[1]" is the field's second item.
    const name = param?.replace(/\[.*$/, "");
    if (name !== undefined && names.includes(name)) {
      this.#showFieldError(name, message);
      const field = this.#field(name);
      const details = field.closest("details");
      if (details) details.open = true;
      field.focus();
      return;
    }
    this.#error.textContent = message;
    this.#error.hidden = false;
  }

  /** Reads the fields; text that is no number stays in its field with a message. */
  #read(): GenerateRequest | undefined {
    const request: Partial<Record<FieldName, unknown>> = {};
    for (const row of rows) {
      const { value, validity } = this.#field(row.json);
      if (row.field.kind === "text") {
        if (value !== "" || row.field.required) request[row.name] = value;
        continue;
      }
      const numbers = value === "" ? [] : value.split(",").map(toNumber);
      if (validity.badInput || numbers.some(Number.isNaN)) {
        this.showError(
          `This must be ${isNumber(row) ? "a number" : "numbers by commas"}.`,
          row.json,
        );
        return undefined;
      }
      if (value !== "") request[row.name] = isNumber(row) ? numbers[0] : numbers;
    }
    return request as GenerateRequest;
  }

  #field(name: string): HTMLInputElement | HTMLTextAreaElement {
    const element = document.getElementById(name);
    return element instanceof HTMLTextAreaElement ? element : byId(name, HTMLInputElement);
  }

  #select(): HTMLSelectElement {
    return byId("preview_every", HTMLSelectElement);
  }

  #button(id: string, picture: SVGElement, action: () => void): void {
    const button = byId(id, HTMLButtonElement);
    button.append(picture);
    button.addEventListener("click", () => {
      action();
      this.#changed();
    });
  }

  #showFieldError(name: string, message: string | undefined): void {
    const line = byId(`${name}-error`, HTMLElement);
    const field = this.#field(name);
    line.hidden = message === undefined;
    line.textContent = message ?? "";
    if (message === undefined) {
      field.removeAttribute("aria-invalid");
      field.removeAttribute("aria-describedby");
    } else {
      field.setAttribute("aria-invalid", "true");
      field.setAttribute("aria-describedby", line.id);
    }
  }

  /** Brings what hangs on the values up to date, and keeps them for the next visit. */
  #changed(): void {
    for (const slider of this.#sliders) slider.sync();
    const shown = (side: "width" | "height") =>
      this.#field(side).value || this.#field(side).placeholder;
    this.#ratios.mark(shown("width"), shown("height"));
    saveDraft(Object.fromEntries([
      ...names.map((name) => [name, this.#field(name).value]),
      ["preview_every", this.#select().value],
    ]));
  }

  #restore(): void {
    const draft = loadDraft();
    if (draft === undefined) return;
    for (const name of names) this.#field(name).value = draft[name] ?? "";
    if (draft.preview_every) this.#select().value = draft.preview_every;
  }
}

/** Puts a field that the page has no place for beside the others of "More". */
function addField(row: Row): void {
  const { json, field } = row;
  const input = field.kind === "text"
    ? el("textarea", { id: json, rows: 1 })
    : el("input", { id: json, type: isNumber(row) ? "number" : "text", step: "any" });
  byId("more-fields", HTMLElement).append(el(
    "div",
    { class: "field", title: field.help },
    el("label", { for: json }, field.label),
    input,
    el("p", { class: "error", id: `${json}-error`, hidden: true }),
  ));
}
