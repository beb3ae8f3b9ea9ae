import type { GenerateRequest, ResolvedRequest } from "../requests/types.ts";
import type { Timings, TruncatedPrompt } from "../engine/types.ts";

/** What a card hears while its request runs. `previews` are URLs an `<img>` can show. */
export type RunEvent =
  /** Something comes before the first step, e.g. the model has to be loaded. */
  | { readonly type: "preparing"; readonly text: string }
  | { readonly type: "queued"; readonly position: number }
  | {
    readonly type: "progress";
    readonly step: number;
    readonly steps: number;
    readonly previews: readonly string[];
  };

export interface RunOptions {
  readonly signal: AbortSignal;
  readonly onEvent: (event: RunEvent) => void;
  /** A preview with every k-th step; 0: none. */
  readonly previewEvery: number;
}

export interface RunImage {
  /** The PNG. */
  readonly blob: Blob;
  readonly seed: number;
}

export interface RunResult {
  readonly images: readonly RunImage[];
  readonly parameters: ResolvedRequest;
  readonly timings: Timings;
  readonly truncated: readonly TruncatedPrompt[];
  /** Name of the model that drew them. */
  readonly model: string;
}

export type Place = "server" | "browser";

/** Whoever answers the form: the server or this browser's own GPU. */
export interface Runner {
  readonly place: Place;
  /** Rejects with `RunError`, or with the signal's reason after an abort. */
  run(request: GenerateRequest, options: RunOptions): Promise<RunResult>;
}
