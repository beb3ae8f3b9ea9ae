/** Fields of a FlowMatchEulerDiscreteScheduler's scheduler_config.json, with diffusers' defaults. */
export interface FlowMatchEulerConfig extends Readonly<Record<string, unknown>> {
  readonly num_train_timesteps: number;
  readonly shift: number;
  /** Shift by `mu`, given with every schedule, in place of `shift`. */
  readonly use_dynamic_shifting: boolean;
  /** `mu` at `base_image_seq_len` tokens, and at `max_image_seq_len` (`calculateShift`). */
  readonly base_shift: number;
  readonly max_shift: number;
  readonly base_image_seq_len: number;
  readonly max_image_seq_len: number;
  /** Sigmas rise from 0 to 1, for models that count noise the other way round. */
  readonly invert_sigmas: boolean;
  /** Stretches the schedule so that its last sigma is this. */
  readonly shift_terminal: number | null;
  readonly use_karras_sigmas: boolean;
  readonly use_exponential_sigmas: boolean;
  readonly use_beta_sigmas: boolean;
  readonly time_shift_type: "exponential" | "linear";
  /** Predicts the clean sample in each step and adds fresh noise to it. */
  readonly stochastic_sampling: boolean;
}

const DEFAULTS: FlowMatchEulerConfig = {
  num_train_timesteps: 1000,
  shift: 1,
  use_dynamic_shifting: false,
  base_shift: 0.5,
  max_shift: 1.15,
  base_image_seq_len: 256,
  max_image_seq_len: 4096,
  invert_sigmas: false,
  shift_terminal: null,
  use_karras_sigmas: false,
  use_exponential_sigmas: false,
  use_beta_sigmas: false,
  time_shift_type: "exponential",
  stochastic_sampling: false,
};

/** What diffusers writes beside the fields of a class. */
const BOOKKEEPING = new Set(["_class_name", "_diffusers_version"]);
const NAME = "FlowMatchEulerDiscreteScheduler";

/**
 * Checks a parsed scheduler_config.json and fills in defaults. A field that is absent or null takes
 * its default. Throws TypeError for unknown fields (all of them named) and for wrong types,
 * RangeError for values that make no schedule.
 */
export function parseFlowMatchConfig(
  json: Readonly<Record<string, unknown>>,
): FlowMatchEulerConfig {
  const unknown = Object.keys(json).filter((key) =>
    !Object.hasOwn(DEFAULTS, key) && !BOOKKEEPING.has(key)
  );
  if (unknown.length > 0) {
    throw new TypeError(
      `${NAME} does not know ${unknown.map((key) => `"${key}"`).join(", ")}; ` +
        `its fields are ${Object.keys(DEFAULTS).join(", ")}`,
    );
  }
  const given = Object.fromEntries(
    Object.entries(json).filter(([key, value]) =>
      !BOOKKEEPING.has(key) && value !== null && value !== undefined
    ),
  );
  const config = { ...DEFAULTS, ...given } as FlowMatchEulerConfig;
  for (const [key, value] of Object.entries(given)) {
    const expected = key === "shift_terminal" ? "number" : typeof DEFAULTS[key];
    if (typeof value !== expected || Number.isNaN(value)) {
      throw new TypeError(`${NAME}: "${key}" must be a ${expected}, not ${JSON.stringify(value)}`);
    }
  }
  for (const key of ["num_train_timesteps", "base_image_seq_len", "max_image_seq_len"] as const) {
    if (!Number.isInteger(config[key]) || config[key] < 1) {
      throw new RangeError(`${NAME}: "${key}" must be a positive integer, not ${config[key]}`);
    }
  }
  if (!(config.shift > 0 && config.shift < Infinity)) {
    throw new RangeError(`${NAME}: "shift" must be positive, not ${config.shift}`);
  }
  const terminal = config.shift_terminal;
  if (terminal !== null && !(terminal >= 0 && terminal < 1)) {
    throw new RangeError(`${NAME}: "shift_terminal" must be in [0, 1), not ${terminal}`);
  }
  if (config.time_shift_type !== "exponential" && config.time_shift_type !== "linear") {
    throw new RangeError(
      `${NAME}: "time_shift_type" must be "exponential" or "linear", ` +
        `not ${JSON.stringify(config.time_shift_type)}`,
    );
  }
  const spacings = (["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"] as const)
    .filter((key) => config[key]);
  if (spacings.length > 1) {
    throw new RangeError(`${NAME}: only one of ${spacings.join(", ")} can be used`);
  }
  return Object.freeze(config);
}
