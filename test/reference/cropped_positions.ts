/** The middle (height, width) of a table of maxSize x maxSize rows, repeated for each sample. */
export function croppedPositions(
  table: ArrayLike<number>,
  maxSize: number,
  height: number,
  width: number,
  batch: number,
): number[] {
  const channels = table.length / maxSize ** 2;
  const top = Math.floor((maxSize - height) / 2);
  const left = Math.floor((maxSize - width) / 2);
  const crop: number[] = [];
  for (let i = top; i < top + height; i++) {
    for (let j = left; j < left + width; j++) {
      for (let c = 0; c < channels; c++) crop.push(table[(i * maxSize + j) * channels + c]!);
    }
  }
  return Array.from({ length: batch }, () => crop).flat();
}
