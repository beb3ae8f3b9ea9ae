/** The worker ended or broke, and with it every request that ran in it. */
export class WorkerDiedError extends Error {
  override readonly name = "WorkerDiedError";
}
