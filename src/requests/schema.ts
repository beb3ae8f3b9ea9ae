/** The table as zod: what the core checks a request with, and what HTTP and OpenAPI promise. */
import { z } from "zod";
import { InvalidRequestError } from "./errors.ts";
import { defaultOf, type Field, type Range, rows } from "./fields.ts";
import type { RequestRules } from "./model_info.ts";

/** Problems named in one message; the client repairs them one after another anyway. */
const maxNamed = 5;

/** The schema of each field, by its JSON name. */
export function fieldSchemas(rules: RequestRules): Record<string, z.ZodType> {
  return Object.fromEntries(rows.map(({ json, field }) => {
    const value = valueSchema(field, rules);
    const checked = field.check || field.refused
      ? value.superRefine((value, context) => {
        const message = field.refused?.(rules.model) ?? field.check?.(value as never);
        if (message) context.addIssue({ code: "custom", message });
      })
      : value;
    const schema = field.required ? checked : checked.nullish();
    const { step } = field.range(rules);
    const fallback = defaultOf(field, rules);
    return [
      json,
      schema.meta({
        description: field.help,
        ...(fallback !== undefined && { default: fallback }),
        // Checked above, but not among what OpenAPI reads off a schema.
        ...(step && { multipleOf: step }),
      }),
    ];
  }));
}

function valueSchema(field: Field, rules: RequestRules): z.ZodType {
  const range = field.range(rules);
  if (field.kind === "text") {
    return z.string().max(range.maximum, `at most ${range.maximum} characters are allowed`)
      .refine((text) => text.isWellFormed(), "must be valid Unicode, without lone surrogates");
  }
  if (field.kind === "whole" || field.kind === "number") return numberSchema(field.kind, range);
  const { minimum, maximum } = field.items!(rules);
  const message = `must be a list of ${minimum} to ${maximum} numbers`;
  const item = numberSchema(field.kind === "wholes" ? "whole" : "number", range);
  return z.array(item, message).min(minimum, message).max(maximum, message);
}

export function wholeSchema(minimum: number, maximum: number): z.ZodNumber {
  return numberSchema("whole", { minimum, maximum });
}

function numberSchema(kind: "whole" | "number", range: Range): z.ZodNumber {
  const { minimum, maximum, step, exclusive } = range;
  const what = step ? `multiple of ${step}` : kind === "whole" ? "whole number" : "number";
  const message = exclusive
    ? `must be a ${what} above ${minimum} and at most ${maximum}`
    : `must be a ${what} from ${minimum} to ${maximum}`;
  const base = kind === "whole" ? z.int(message) : z.number(message);
  const above = exclusive ? base.gt(minimum, message) : base.min(minimum, message);
  const schema = above.max(maximum, message);
  return step ? schema.multipleOf(step, message) : schema;
}

/** What a failed check says: which field, what it was, what is allowed. */
export function toInvalidRequest({ issues }: z.ZodError): InvalidRequestError {
  const texts = issues.slice(0, maxNamed).map(describe);
  const more = issues.length - texts.length;
  if (more > 0) texts.push(`and ${more} more`);
  const first = issues[0];
  const param = first?.code === "unrecognized_keys"
    ? shorten(first.keys[0] ?? "")
    : pathOf(first?.path ?? []);
  return new InvalidRequestError(param, texts.join("; "));
}

function describe(issue: z.core.$ZodIssue): string {
  if (issue.code === "unrecognized_keys") {
    const keys = issue.keys.slice(0, maxNamed).map((key) => `"${shorten(key)}"`);
    return `Unknown field ${keys.join(", ")}: GET /openapi.json lists what is allowed`;
  }
  const path = pathOf(issue.path);
  // Zod's own words stay for types ("expected string, received number"); "undefined" is no JSON.
  const message = issue.message.endsWith("received undefined") ? "is required" : issue.message;
  return path === "" ? message : `${path}: ${message}`;
}

function pathOf(path: readonly PropertyKey[]): string {
  return path.map((part) => typeof part === "number" ? `[${part}]` : String(part)).join(".")
    .replaceAll(".[", "[");
}

/** A name out of a request, as an error repeats it. */
export function shorten(text: string): string {
  return text.length <= 64 ? text : `${text.slice(0, 64)}...`;
}
