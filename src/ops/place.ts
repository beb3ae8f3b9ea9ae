import source from "../../kernels/place.wgsl" with { type: "text" };
import { flatGrid } from "../gpu/grid.ts";
import { defineKernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import { checkTensor } from "./support/check.ts";
import type { KernelUse } from "./support/kernel_use.ts";
import { valueAlias, valueWidth } from "./support/values.ts";

export interface PlaceOptions {
  /** (B, T, C) */
  readonly x: Tensor;
  /** (B, T2, C2), written where x goes and left alone elsewhere. */
  readonly into: Tensor;
  /** Where token 0 and channel 0 of x go. */
  readonly row: number;
  readonly column: number;
  readonly label: string;
}

const kernel = defineKernel("place", source);

/** Writes x into a part of `into`, and returns `into`: concatenation along tokens or channels. */
export function place(rec: Recorder, { x, into, row, column, label }: PlaceOptions): Tensor {
  checkTensor("place", "x", x, [null, null, null]);
  const [batch, tokens, channels] = x.shape as [number, number, number];
  checkTensor("place", "into", into, [batch, null, null]);
  const [, intoTokens, intoChannels] = into.shape as [number, number, number];
  if (row < 0 || column < 0 || row + tokens > intoTokens || column + channels > intoChannels) {
    throw new TypeError(
      `place: x [${x.shape}] at row ${row}, column ${column} does not fit into [${into.shape}]`,
    );
  }
  const width = valueWidth(channels, intoChannels, column);
  const count = elements(x.shape) / width;
  rec.dispatch({
    label: `place/${label}`,
    kernel,
    specialise: { alias: valueAlias(width) },
    bindings: { x, into },
    params: {
      count,
      tokens,
      channels: channels / width,
      into_tokens: intoTokens,
      into_channels: intoChannels / width,
      row,
      column: column / width,
    },
    grid: flatGrid(count),
  });
  return into;
}

export const placeUses: readonly KernelUse[] = [{
  kernel,
  specialisations: [{ alias: valueAlias(1) }, { alias: valueAlias(4) }],
}];
