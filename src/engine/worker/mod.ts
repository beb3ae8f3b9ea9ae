/** An engine in a worker: `serveEngine` on its side, `connectEngine` on the side that asks. */
export { connectEngine, type EngineWorker } from "./client.ts";
export { serveEngine } from "./host.ts";
export type { MessageEndpoint } from "./protocol.ts";
export { WorkerDiedError } from "../errors.ts";
