import type { Specialisation } from "../../gpu/kernel.ts";

/** Values that an invocation handles at once: four where every extent allows it. */
export function valueWidth(...extents: readonly number[]): 1 | 4 {
  return extents.every((extent) => extent % 4 === 0) ? 4 : 1;
}

/** For kernels that declare `alias Value = vec4f;`. */
export function valueAlias(width: 1 | 4): NonNullable<Specialisation["alias"]> {
  return { Value: width === 4 ? "vec4f" : "f32" };
}
