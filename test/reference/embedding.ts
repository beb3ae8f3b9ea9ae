/** Rows of `table` by ids, plus row t of `positions` for the token t of each sample. */
export function embedding(
  ids: ArrayLike<number>,
  tokens: number,
  channels: number,
  table: ArrayLike<number>,
  positions?: ArrayLike<number>,
): Float64Array {
  return Float64Array.from({ length: ids.length * channels }, (_, at) => {
    const row = Math.floor(at / channels);
    const c = at % channels;
    return table[ids[row]! * channels + c]! + (positions?.[row % tokens * channels + c] ?? 0);
  });
}
