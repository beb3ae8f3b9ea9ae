/** A config.json that cannot be used, with every problem in it. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}
