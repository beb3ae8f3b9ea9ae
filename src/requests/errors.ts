/** A request that cannot be served as it stands; `param` names the field in diffusers' words. */
export class InvalidRequestError extends Error {
  override readonly name = "InvalidRequestError";
  constructor(readonly param: string, message: string) {
    super(message);
  }
}

/** The queue or the memory budget is full; the same request may succeed later. */
export class BusyError extends Error {
  override readonly name = "BusyError";
  constructor(message: string, readonly retryAfterSeconds = 1) {
    super(message);
  }
}
