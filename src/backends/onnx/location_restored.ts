/** Imported just after onnxruntime-web: see `location_hidden.ts`. */
import { hiddenLocation } from "./location_hidden.ts";

if (hiddenLocation) Object.defineProperty(globalThis, "location", hiddenLocation);
