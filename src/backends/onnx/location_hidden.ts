/**
 * Imported just before onnxruntime-web: it builds URLs on `location.origin` while it is evaluated,
 * and in a Deno worker that is the text "null". Without a `location` it takes its own module's URL.
 */
export const hiddenLocation = globalThis.location?.origin === "null"
  ? Object.getOwnPropertyDescriptor(globalThis, "location")
  : undefined;

if (hiddenLocation) {
  Object.defineProperty(globalThis, "location", { value: undefined, configurable: true });
}
