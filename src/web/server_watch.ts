import type { ServerApi, ServerStatus } from "./api.ts";
import { RunError } from "./errors.ts";

const periodMs = 2000;
const busyPeriodMs = 1000;
const longestPauseMs = 10_000;

export type WatchState =
  | { readonly state: "ready"; readonly status: ServerStatus }
  | { readonly state: "wait" | "away" | "unauthorized"; readonly text: string };

/**
 * Asks the server how it is, for as long as the page is seen: every two seconds, sooner while it
 * works, with growing pauses while it cannot be reached, so a restart is noticed by itself.
 */
export class ServerWatch {
  readonly #api: ServerApi;
  readonly #onState: (state: WatchState) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #asking = false;

  constructor(api: ServerApi, onState: (state: WatchState) => void) {
    this.#api = api;
    this.#onState = onState;
    onState({ state: "wait", text: "Connecting" });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) void this.ask();
    });
    globalThis.addEventListener("online", () => void this.ask());
  }

  /** Asks at once, and goes on asking. */
  async ask(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    clearTimeout(this.#timer);
    let pause = periodMs;
    try {
      const status = await this.#api.status();
      this.#failures = 0;
      if (status.requests.active + status.requests.waiting > 0) pause = busyPeriodMs;
      this.#onState({ state: "ready", status });
    } catch (error) {
      this.#failures += 1;
      pause = Math.min(longestPauseMs, busyPeriodMs * 1.5 ** this.#failures);
      this.#onState(describe(error));
    } finally {
      this.#asking = false;
    }
    if (!document.hidden) this.#timer = setTimeout(() => void this.ask(), pause);
  }
}

function describe(error: unknown): WatchState {
  if (error instanceof RunError) {
    if (error.kind === "unauthorized") return { state: "unauthorized", text: "API key wanted" };
    if (error.kind === "busy") return { state: "wait", text: error.message };
    if (error.kind === "failed") return { state: "away", text: error.message };
  }
  return { state: "away", text: "Server unreachable, trying again" };
}
