/** What the page tells its worker beside the engine's own protocol, and hears while it loads. */
import type { FamilyChoice } from "../gpu/adapter.ts";
import type { ModelListing } from "./model_cache.ts";

/** The `options` of the worker's engine: where its model comes from, and what runs it. */
export type OpenOptions =
  & {
    /** Default: `auto`. */
    readonly kernels?: FamilyChoice | undefined;
  }
  & ModelPlace;

type ModelPlace =
  | {
    readonly from: "server";
    /** Folder of the files, ending in `/`. */
    readonly url: string;
    readonly listing: ModelListing;
    readonly apiKey: string | undefined;
  }
  | { readonly from: "files"; readonly name: string; readonly files: ReadonlyMap<string, File> };

/** Sent by the worker until its engine is open; the engine's protocol has no such type. */
export type LoadingMessage =
  | {
    readonly type: "loading";
    readonly stage: "fetch" | "upload";
    readonly bytesDone: number;
    readonly bytesTotal: number;
  }
  /** The model could not be kept, with the reason. */
  | { readonly type: "notKept"; readonly reason: string };
