/**
 * What a request may say: ONE table. From a row follow its types (`types.ts`), its check and default
 * (`request.ts`), its place in answers and PNG files (`json.ts`), in the HTTP schemas and OpenAPI, in
 * the command line's options and in the page's form. Plain data, so that the page carries it lightly.
 */
import type { ModelInfo, RequestRules } from "./model_info.ts";

/** What a value may be; for a text its length, for a list each of its items. */
export interface Range {
  readonly minimum: number;
  readonly maximum: number;
  /** Values are multiples of this. */
  readonly step?: number | undefined;
  /** The minimum itself is not allowed. */
  readonly exclusive?: boolean | undefined;
}

/** Each kind of field with the type of its value. */
export interface Kinds {
  text: string;
  whole: number;
  number: number;
  wholes: readonly number[];
  numbers: readonly number[];
}

interface FieldOf<Kind extends keyof Kinds> {
  readonly kind: Kind;
  /** A word or two, for the page. */
  readonly label: string;
  /** One line, for OpenAPI and `--help`. */
  readonly help: string;
  readonly range: (rules: RequestRules) => Range;
  /** Items of a list. */
  readonly items?: ((rules: RequestRules) => Range) | undefined;
  readonly required?: true;
  /** For an absent field; the model's, held within the range, where it is a function. */
  readonly default?: Kinds[Kind] | ((defaults: ModelInfo["defaults"]) => Kinds[Kind]);
  /** The field whose value stands for an absent one. */
  readonly like?: string;
  /** The field without which this one means nothing. */
  readonly needs?: string;
  /** What a value in the range still has against it. */
  readonly check?: (value: Kinds[Kind]) => string | undefined;
  /** Why this model cannot do it. */
  readonly refused?: (model: ModelInfo) => string | undefined;
  /** What a checked value becomes, once. */
  readonly settle?: (value: Kinds[Kind]) => Kinds[Kind];
  /** Also a field of the OpenAI-shaped route, which has names of its own for some others. */
  readonly openai?: true;
}

export type Field = { readonly [Kind in keyof Kinds]: FieldOf<Kind> }[keyof Kinds];

const promptText = {
  kind: "text",
  range: ({ limits }: RequestRules) => ({ minimum: 0, maximum: limits.maxPromptLength }),
} as const;

/** A side in pixels. */
const side = {
  kind: "whole",
  range: ({ model: { sizeMultiple: step, maxSize }, limits }: RequestRules) => ({
    minimum: step,
    maximum: Math.floor(Math.min(maxSize, limits.maxSize) / step) * step,
    step,
  }),
} as const;

const fraction = { kind: "number", range: () => ({ minimum: 0, maximum: 1 }) } as const;

const steps = ({ limits }: RequestRules) => ({ minimum: 1, maximum: limits.maxSteps });
const blocks = ({ model }: RequestRules) => ({ minimum: 0, maximum: model.numLayers - 1 });

export const fields = {
  prompt: {
    ...promptText,
    label: "Prompt",
    help: "What the image shows",
    required: true,
    openai: true,
  },
  prompt2: { ...promptText, label: "Prompt 2", help: "For the second CLIP", like: "prompt" },
  prompt3: { ...promptText, label: "Prompt 3", help: "For T5", like: "prompt" },
  negativePrompt: {
    ...promptText,
    label: "Negative prompt",
    help: "What the image should not show",
    default: "",
    openai: true,
  },
  negativePrompt2: {
    ...promptText,
    label: "Negative prompt 2",
    help: "For the second CLIP",
    like: "negativePrompt",
  },
  negativePrompt3: {
    ...promptText,
    label: "Negative prompt 3",
    help: "For T5",
    like: "negativePrompt",
  },
  height: { ...side, label: "Height", help: "Pixels", default: ({ height }) => height },
  width: { ...side, label: "Width", help: "Pixels", default: ({ width }) => width },
  numInferenceSteps: {
    kind: "whole",
    label: "Steps",
    help: "Denoising steps",
    range: steps,
    default: (defaults) => defaults.numInferenceSteps,
    openai: true,
  },
  sigmas: {
    kind: "numbers",
    label: "Sigmas",
    help: "Custom schedule of falling noise levels; replaces num_inference_steps",
    range: () => ({ minimum: 0, maximum: 1, exclusive: true }),
    items: steps,
    check: (sigmas) => {
      const at = sigmas.findIndex((sigma, i) => i > 0 && sigma >= sigmas[i - 1]!);
      return at < 0 ? undefined : `must fall strictly, not stay or rise as at index ${at}`;
    },
  },
  guidanceScale: {
    kind: "number",
    label: "Guidance",
    help: "Classifier-free guidance; 1 or less: none",
    range: () => ({ minimum: 0, maximum: 100 }),
    default: (defaults) => defaults.guidanceScale,
    openai: true,
  },
  numImagesPerPrompt: {
    kind: "whole",
    label: "Images",
    help: "Images of this request",
    range: ({ limits }) => ({ minimum: 1, maximum: limits.maxImages }),
    default: 1,
  },
  maxSequenceLength: {
    kind: "whole",
    label: "T5 tokens",
    help: "T5's tokens of the context",
    range: ({ model }) => ({ minimum: 1, maximum: model.maxSequenceLength }),
    default: (defaults) => defaults.maxSequenceLength,
  },
  clipSkip: {
    kind: "whole",
    label: "CLIP skip",
    help: "Layers at the end of both CLIPs that the prompt, not the negative one, goes without",
    range: ({ model }) => ({ minimum: 0, maximum: model.clipLayers - 1 }),
  },
  seed: {
    kind: "whole",
    label: "Seed",
    help: "As torch.Generator().manual_seed; image k is drawn with seed + k; -1: at random",
    // Every seed + k must stay exact.
    range: ({ limits }) => ({ minimum: -1, maximum: Number.MAX_SAFE_INTEGER - limits.maxImages }),
    default: -1,
    settle: (seed) => seed === -1 ? crypto.getRandomValues(new Uint32Array(1))[0]! : seed,
    openai: true,
  },
  skipGuidanceLayers: {
    kind: "wholes",
    label: "Skipped blocks",
    help: "Skip-layer guidance: transformer blocks left out of the extra prediction",
    range: blocks,
    items: ({ model }) => ({ minimum: 1, maximum: model.numLayers }),
    refused: ({ skipsLayers }) =>
      skipsLayers === false
        ? "needs the wgsl backend: this model's transformer is an ONNX graph"
        : undefined,
    settle: (layers) => [...new Set(layers)].sort((a, b) => a - b),
  },
  skipLayerGuidanceScale: {
    kind: "number",
    label: "Skip scale",
    help: "Weight of the difference to the prediction with blocks left out",
    range: () => ({ minimum: -100, maximum: 100 }),
    default: 2.8,
    needs: "skipGuidanceLayers",
  },
  skipLayerGuidanceStart: {
    ...fraction,
    label: "Skip from",
    help: "Active after this fraction of the steps",
    default: 0.01,
    needs: "skipGuidanceLayers",
  },
  skipLayerGuidanceStop: {
    ...fraction,
    label: "Skip until",
    help: "Active before this fraction of the steps",
    default: 0.2,
    needs: "skipGuidanceLayers",
  },
} as const satisfies Readonly<Record<string, Field>>;

export type FieldName = keyof typeof fields;

/** A row with its names: inside, and in JSON. */
export interface Row {
  readonly name: FieldName;
  readonly json: string;
  readonly field: Field;
}

/** The table in its order. */
export const rows: readonly Row[] = Object.entries(fields).map(([name, field]) => ({
  name: name as FieldName,
  json: snakeCase(name),
  field,
}));

/** `maxSequenceLength` as `max_sequence_length`, `prompt2` as `prompt_2`: diffusers' words. */
export function snakeCase(name: string): string {
  return name.replace(/[A-Z]|\d+/g, (part) => `_${part.toLowerCase()}`);
}

/** What a field takes under these rules, as plain numbers, and its default. */
export interface FieldFacts extends Range {
  readonly items?: Range | undefined;
  readonly default?: unknown;
}

/** The facts of each field, by its JSON name: for the status and the page. */
export function fieldFacts(rules: RequestRules): Record<string, FieldFacts> {
  return Object.fromEntries(rows.map(({ json, field }) => {
    const fallback = defaultOf(field, rules);
    return [json, {
      ...field.range(rules),
      ...(field.items && { items: field.items(rules) }),
      ...(fallback !== undefined && { default: fallback }),
    }];
  }));
}

/** What stands for an absent field, as far as it does not hang on other fields. */
export function defaultOf(field: Field, rules: RequestRules): unknown {
  if (typeof field.default !== "function") return field.default;
  const { minimum, maximum } = field.range(rules);
  const value = field.default(rules.model.defaults);
  return typeof value === "number" ? Math.min(Math.max(value, minimum), maximum) : value;
}
