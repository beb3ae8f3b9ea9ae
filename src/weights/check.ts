/** What was declared against what a checkpoint holds, and the types that come of it. */
import { isQuantType, texelRows, type WeightDType } from "../gpu/quantized.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { isNarrow } from "./convert.ts";
import { blocks, byteLength, type ElementType, isReal, realTypeNames } from "./element_types.ts";
import { ProblemList } from "./errors.ts";
import type { WeightParameter } from "./parameter.ts";
import type { WeightType } from "./weight_type.ts";

/**
 * Compares the parameters of `network` with the tensors of a checkpoint.
 * @param isIgnored of a tensor that no parameter wants: whether that is right
 * @throws {WeightsError} listing everything missing, extra, misshapen or of a wrong type
 */
export function checkTensors(
  network: string,
  parameters: readonly WeightParameter[],
  checkpoint: Checkpoint,
  isIgnored: (key: string) => boolean,
): void {
  const problems = new ProblemList();
  const wanted = new Set<string>();
  for (const { keys, layout } of parameters) {
    for (const [i, key] of keys.entries()) {
      wanted.add(key);
      const tensor = checkpoint.tensors.get(key);
      const shapes = layout.storedShapes[i]!;
      if (!tensor) {
        problems.add("missing", `${network}: ${key} [${shapes[0]}]`);
        continue;
      }
      const { type, shape } = tensor;
      if (!shapes.some((allowed) => `${allowed}` === `${shape}`)) {
        const allowed = shapes.map((shape) => `[${shape}]`).join(" or ");
        problems.add("misshapen", `${network}: ${key} is [${shape}], wanted ${allowed}`);
      }
      if (!isReal(type) || layout.sourceRow % blocks[type].values !== 0) {
        problems.add(
          "wrongType",
          `${network}: ${key} is ${type}, wanted ${realTypeNames.join(", ")}`,
        );
      }
    }
  }
  for (const [key, { shape }] of checkpoint.tensors) {
    if (!wanted.has(key) && !isIgnored(key)) problems.add("extra", `${network}: ${key} [${shape}]`);
  }
  problems.throwIfAny(`${network} (${checkpoint.name})`);
}

/** Type of the parameter in GPU memory, for a checkpoint that passed the check. */
export function chooseType(
  { keys, layout, isQuantizable }: WeightParameter,
  checkpoint: Checkpoint,
  weightType: WeightType,
): WeightDType {
  const tensors = keys.map((key) => checkpoint.tensors.get(key)!);
  if (isQuantType(weightType) && isQuantizable) {
    // Rows that share a texel are written together.
    const together = (type: ElementType) => texelRows * byteLength(type, layout.sourceRow);
    const isWhole = tensors.every(({ type, ranges }) =>
      ranges.every(({ start, end }) => (end - start) % together(type) === 0)
    );
    if (isWhole) return weightType;
  }
  if (layout.isVector || weightType === "f32") return "f32";
  return tensors.every(({ type }) => isReal(type) && isNarrow(type)) ? "f16" : "f32";
}
