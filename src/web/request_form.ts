import type { GenerateRequest } from "../requests/types.ts";
import { byId, icon } from "./dom.ts";
import { type SizeLimits, SizeRatios } from "./size_ratios.ts";
import { Slider } from "./slider.ts";
import { loadDraft, saveDraft } from "./storage.ts";
import { toWire } from "./wire.ts";

/** What the form must know of the model that answers: its defaults and how sizes step. */
export interface FormModel extends SizeLimits {
  readonly numInferenceSteps: number;
  readonly guidanceScale: number;
  readonly maxSequenceLength: number;
  /** Largest number of steps and of images, where there is a limit. */
  readonly maxSteps?: number | undefined;
  readonly maxImages?: number | undefined;
}

/** The number fields: name on the wire and in the page, name in a request. */
const NUMBERS = {
  width: "width",
  height: "height",
  num_inference_steps: "numInferenceSteps",
  guidance_scale: "guidanceScale",
  max_sequence_length: "maxSequenceLength",
  seed: "seed",
  num_images_per_prompt: "numImagesPerPrompt",
} as const;
type NumberField = keyof typeof NUMBERS;

const TEXTS = { prompt: "prompt", negative_prompt: "negativePrompt" } as const;
const FIELDS = [...Object.keys(TEXTS), ...Object.keys(NUMBERS)];

/**
 * The form. A field is read as it stands and judged by whoever runs the request; a refusal comes
 * back by the field's name and is shown there. An empty field means the model's default.
 */
export class RequestForm {
  readonly #form = byId("request", HTMLFormElement);
  readonly #error = byId("form-error", HTMLElement);
  readonly #ratios: SizeRatios;
  readonly #sliders: readonly Slider[];
  #model: FormModel | undefined;

  constructor(onSubmit: (request: GenerateRequest, previewEvery: number) => void) {
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
      if (FIELDS.includes(id)) this.#showFieldError(id, undefined);
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
      this.#number("width").value = String(width);
      this.#number("height").value = String(height);
      this.#showFieldError("width", undefined);
      this.#showFieldError("height", undefined);
      this.#changed();
    });
    this.#button("swap", icon("swap"), () => {
      const width = this.#number("width").value;
      this.#number("width").value = this.#number("height").value;
      this.#number("height").value = width;
    });
    this.#button("seed-clear", icon("close"), () => this.#number("seed").value = "");
    this.#number("num_images_per_prompt").value = "1";
    this.#restore();
  }

  /** Takes the model's defaults as placeholders and offers its sizes. */
  setModel(model: FormModel): void {
    if (JSON.stringify(model) === JSON.stringify(this.#model)) return;
    this.#model = model;
    const { sizeMultiple: step, maxSize } = model;
    for (const side of ["width", "height"] as const) {
      const input = this.#number(side);
      input.step = input.min = String(step);
      input.max = String(maxSize);
      input.placeholder = String(model[side]);
    }
    this.#number("num_inference_steps").max = String(model.maxSteps ?? "");
    this.#number("num_images_per_prompt").max = String(model.maxImages ?? "");
    this.#number("num_inference_steps").placeholder = String(model.numInferenceSteps);
    this.#number("guidance_scale").placeholder = String(model.guidanceScale);
    this.#number("max_sequence_length").placeholder = String(model.maxSequenceLength);
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
    const values = toWire(request);
    for (const name of FIELDS) {
      this.#field(name).value = values[name] === undefined ? "" : String(values[name]);
    }
    this.#changed();
    byId("prompt", HTMLTextAreaElement).focus();
  }

  clearErrors(): void {
    for (const name of FIELDS) this.#showFieldError(name, undefined);
    this.#error.hidden = true;
  }

  /** Shows a refusal at its field, or above the button where no field of the form has that name. */
  showError(message: string, param: string | undefined): void {
    if (param !== undefined && FIELDS.includes(param)) {
      this.#showFieldError(param, message);
      const field = this.#field(param);
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
    const request: Record<string, unknown> = {};
    for (const [name, key] of Object.entries(TEXTS)) {
      const value = this.#field(name).value;
      if (value !== "" || name === "prompt") request[key] = value;
    }
    for (const [name, key] of Object.entries(NUMBERS)) {
      const input = this.#number(name as NumberField);
      if (input.validity.badInput) {
        this.showError("This must be a number.", name);
        return undefined;
      }
      if (input.value !== "") request[key] = input.valueAsNumber;
    }
    return request as unknown as GenerateRequest;
  }

  #field(name: string): HTMLInputElement | HTMLTextAreaElement {
    return name in TEXTS ? byId(name, HTMLTextAreaElement) : byId(name, HTMLInputElement);
  }

  #number(name: NumberField): HTMLInputElement {
    return byId(name, HTMLInputElement);
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
      this.#number(side).value || this.#number(side).placeholder;
    this.#ratios.mark(shown("width"), shown("height"));
    saveDraft(Object.fromEntries([
      ...FIELDS.map((name) => [name, this.#field(name).value]),
      ["preview_every", this.#select().value],
    ]));
  }

  #restore(): void {
    const draft = loadDraft();
    if (draft === undefined) return;
    for (const name of FIELDS) this.#field(name).value = draft[name] ?? "";
    if (draft.preview_every) this.#select().value = draft.preview_every;
  }
}
