/** Which files a rule holds for: paths are counted from the repository's root. */
import { fileURLToPath } from "node:url";

/** Where Deno and node: modules may be named. */
export const edges = [
  /^(server|cli|adapter)\.ts$/,
  /^cli\//,
  /^src\/http\//,
  /^src\/weights\/deno_\w+\.ts$/,
  /^src\/web\/build\.ts$/,
  /^test\//,
];

/** Where device.createBuffer and device.createShaderModule may be called. */
export const makers = [
  /^src\/gpu\//,
  // Enters onnxruntime's buffers in the ledger.
  /^src\/backends\/onnx\/counted_device\.ts$/,
  /^test\//,
];

/** Classes whose copies are made of their fields, so that these cannot be #private. */
export const copied = [/^src\/schedulers\//];

const root = fileURLToPath(new URL("../../", import.meta.url));
export const isIn = (filename: string, places: readonly RegExp[]) => {
  const path = filename.startsWith(root) ? filename.slice(root.length) : filename;
  return places.some((place) => place.test(path));
};
