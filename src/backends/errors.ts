/** The directory does not hold what the chosen backend needs. */
export class BackendChoiceError extends Error {
  override readonly name = "BackendChoiceError";
}
