/** Shape checks at the top of each op: a TypeError names the op, the tensor, what it is and was to be. */
import { type DType, type PerSample, rowStride, type Tensor } from "../../gpu/tensor.ts";
import type { Matrix } from "./matrix.ts";

/** Any extent fits where the wanted one is null. */
export function checkTensor(
  op: string,
  name: string,
  tensor: Tensor,
  wanted: readonly (number | null)[],
  dtype: DType = "f32",
): void {
  const fits = tensor.dtype === dtype && tensor.shape.length === wanted.length &&
    wanted.every((extent, axis) => extent === null || extent === tensor.shape[axis]);
  if (!fits) {
    throw new TypeError(
      `${op}: ${name} (${tensor.label}) is ${tensor.dtype} [${tensor.shape}], ` +
        `wanted ${dtype} [${wanted.map((extent) => extent ?? "any").join()}]`,
    );
  }
}

/** The last extent, where the kernel reads four values at once. */
export function checkChannels(op: string, name: string, tensor: Tensor): number {
  const channels = tensor.shape.at(-1) ?? 0;
  if (tensor.dtype !== "f32" || channels === 0 || channels % 4 !== 0) {
    throw new TypeError(
      `${op}: ${name} (${tensor.label}) is ${tensor.dtype} [${tensor.shape}], ` +
        `wanted f32 with a last extent that is a multiple of 4`,
    );
  }
  return channels;
}

/** One vector of `channels` values for each of `batch` samples. */
export function checkPerSample(
  op: string,
  name: string,
  { tensor, offset, stride }: PerSample,
  batch: number,
  channels: number,
): void {
  checkTensor(op, name, tensor, [batch, stride]);
  if (offset < 0 || offset + channels > stride || offset % 4 !== 0 || stride % 4 !== 0) {
    throw new TypeError(
      `${op}: ${name} (${tensor.label}) holds ${channels} values at ${offset} of rows of ${stride}: ` +
        `wanted multiples of 4 inside the row`,
    );
  }
}

/** A lookup table's channel count, where each part is f32 or f16 and read four values at once. */
export function checkTable(op: string, name: string, table: Matrix): number {
  const channels = table.shape[1] ?? 0;
  const fits = table.shape.length === 2 && channels > 0 && channels % 4 === 0 &&
    table.parts.every(({ tensor, texture }) =>
      !texture && (tensor.dtype === "f32" || tensor.dtype === "f16")
    );
  if (!fits) {
    const dtypes = table.parts.map(({ tensor }) => tensor.dtype);
    throw new TypeError(
      `${op}: ${name} is ${dtypes} [${table.shape}], wanted f32 or f16 [any, a multiple of 4]`,
    );
  }
  return channels;
}

/** Values from one row of a table to the next. */
export function tableStride(table: Matrix): number {
  return table.rowStride ?? rowStride(table.shape[1]!);
}
