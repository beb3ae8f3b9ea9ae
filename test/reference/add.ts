/** `into + gate * x`; the gate is of the value's sample and channel. */
export function add(
  x: ArrayLike<number>,
  into: ArrayLike<number>,
  gate: (at: number) => number = () => 1,
): Float64Array {
  return Float64Array.from(x, (value, at) => into[at]! + gate(at) * value);
}
