/**
 * Why a run did not end in images, as the page tells it apart:
 * `rejected` (the request is wrong; `param` names the field in the API's words), `busy` (later),
 * `unauthorized` (an API key is wanted), `lost` (whoever worked on it is gone), `failed` (the rest).
 */
export class RunError extends Error {
  override readonly name = "RunError";
  constructor(
    readonly kind: "rejected" | "busy" | "unauthorized" | "lost" | "failed",
    message: string,
    readonly details: { param?: string | undefined; retryAfter?: number | undefined } = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
