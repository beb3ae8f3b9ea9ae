/** Whether an adapter takes what was recorded. */
import type { ProfileLimits } from "../../src/gpu/profiles.ts";
import type { Form, RecordedDispatch, Recording } from "./recording.ts";

/** What the limits refuse, with the dispatch's label; workgroups are the compilers' to check. */
export function violations(recording: Recording, limits: ProfileLimits): string[] {
  const { buffer, texture, problems, dispatches, forms } = recording;
  const found = new Set(problems);
  if (buffer.size > limits.maxBufferSize) {
    found.add(`${buffer.label}: a buffer of ${buffer.size} bytes`);
  }
  if (texture.extent > limits.maxTextureDimension2D) {
    found.add(`${texture.label}: a texture of ${texture.extent} texels`);
  }
  for (const form of forms.values()) {
    for (const problem of ofForm(form, limits)) found.add(`${form.kernel}: ${problem}`);
  }
  for (const dispatch of dispatches.values()) {
    for (const problem of ofDispatch(dispatch, limits)) found.add(`${dispatch.label}: ${problem}`);
  }
  return [...found];
}

function* ofForm({ bindings }: Form, limits: ProfileLimits): Generator<string> {
  const count = (wanted: (entry: GPUBindGroupLayoutEntry) => boolean) =>
    bindings.filter(wanted).length;
  const counts = [
    [
      "storage buffers",
      count(({ buffer }) => buffer !== undefined && buffer.type !== "uniform"),
      limits.maxStorageBuffersPerShaderStage,
    ],
    [
      "uniform buffers",
      count(({ buffer }) => buffer?.type === "uniform"),
      limits.maxUniformBuffersPerShaderStage,
    ],
    [
      "storage textures",
      count(({ storageTexture }) => storageTexture !== undefined),
      limits.maxStorageTexturesPerShaderStage,
    ],
    [
      "textures",
      count(({ texture }) => texture !== undefined),
      limits.maxSampledTexturesPerShaderStage,
    ],
  ] as const;
  for (const [what, number, limit] of counts) {
    if (number > limit) yield `${number} ${what}, more than ${limit}`;
  }
}

function* ofDispatch({ grid, buffers }: RecordedDispatch, limits: ProfileLimits) {
  if (grid.some((n) => n > limits.maxComputeWorkgroupsPerDimension)) yield `grid [${grid}]`;
  for (const { binding, kind, buffer, bufferSize, offset, size } of buffers) {
    const isUniform = kind === "uniform";
    const most = isUniform
      ? limits.maxUniformBufferBindingSize
      : limits.maxStorageBufferBindingSize;
    const alignment = isUniform
      ? limits.minUniformBufferOffsetAlignment
      : limits.minStorageBufferOffsetAlignment;
    if (size > most) yield `binding ${binding} has ${size} bytes, more than ${most}`;
    if (size === 0 || size % 4) yield `binding ${binding} has ${size} bytes`;
    if (offset % alignment) yield `binding ${binding} begins at ${offset}`;
    if (offset + size > bufferSize) yield `binding ${binding} leaves its buffer of ${bufferSize}`;
    const isWritten = kind === "storage";
    if (isWritten && buffers.some((other) => other.buffer === buffer && other.kind !== kind)) {
      yield `binding ${binding} is written and read in one dispatch`;
    }
  }
}
