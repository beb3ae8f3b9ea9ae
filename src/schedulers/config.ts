/** The fields of a scheduler_config.json that one class knows. */
export interface ConfigFields<C> {
  readonly name: string;
  /** A field that may be null has null for its default, and is a number otherwise. */
  readonly defaults: C;
  /** The only values of a field. */
  readonly choices?: { readonly [K in keyof C]?: readonly C[K][] };
  /** Positive whole numbers. */
  readonly whole?: readonly (keyof C & string)[];
  /** Positive numbers. */
  readonly positive?: readonly (keyof C & string)[];
  /** Fields that say nothing about what the class does. */
  readonly ignored?: readonly string[];
}

/** What diffusers writes beside the fields of a class. */
const bookkeeping = ["_class_name", "_diffusers_version"];

/**
 * Checks a parsed scheduler_config.json and fills in defaults. A field that is absent or null takes
 * its default.
 *
 * @throws {TypeError} for unknown fields (all of them named) and for wrong types
 * @throws {RangeError} for values that make no schedule
 */
export function parseConfig<C extends object>(
  json: Readonly<Record<string, unknown>>,
  { name, defaults, choices = {}, whole = [], positive = [], ignored = [] }: ConfigFields<C>,
): C {
  const skipped = [...bookkeeping, ...ignored];
  const unknown = Object.keys(json).filter((key) =>
    !Object.hasOwn(defaults, key) && !skipped.includes(key)
  );
  if (unknown.length > 0) {
    throw new TypeError(
      `${name} does not know ${unknown.map((key) => `"${key}"`).join(", ")}; ` +
        `its fields are ${Object.keys(defaults).join(", ")}`,
    );
  }
  const given = Object.fromEntries(
    Object.entries(json).filter(([key, value]) =>
      !skipped.includes(key) && value !== null && value !== undefined
    ),
  );
  const config: C = { ...defaults, ...given };
  for (const [key, value] of Object.entries(given)) {
    const example: unknown = defaults[key as keyof C];
    const expected = example === null ? "number" : typeof example;
    if (typeof value !== expected || Number.isNaN(value)) {
      throw new TypeError(`${name}: "${key}" must be a ${expected}, not ${JSON.stringify(value)}`);
    }
  }
  for (const key of whole) {
    const value = config[key] as number;
    if (!Number.isInteger(value) || value < 1) {
      throw new RangeError(`${name}: "${key}" must be a positive integer, not ${value}`);
    }
  }
  for (const key of positive) {
    const value = config[key] as number;
    if (!(value > 0 && value < Infinity)) {
      throw new RangeError(`${name}: "${key}" must be positive, not ${value}`);
    }
  }
  for (const [key, values] of Object.entries<readonly unknown[] | undefined>(choices)) {
    const value = config[key as keyof C];
    if (values!.includes(value)) continue;
    throw new RangeError(
      `${name}: "${key}" must be ${values!.map((each) => JSON.stringify(each)).join(" or ")}, ` +
        `not ${JSON.stringify(value)}`,
    );
  }
  return Object.freeze(config);
}
