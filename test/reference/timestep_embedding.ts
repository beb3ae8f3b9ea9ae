/** [cos | sin] of each timestep times its frequencies. */
export function timestepEmbedding(
  timesteps: ArrayLike<number>,
  frequencies: ArrayLike<number>,
): Float64Array {
  const half = frequencies.length;
  return Float64Array.from({ length: timesteps.length * 2 * half }, (_, at) => {
    const i = at % (2 * half);
    // diffusers multiplies in float32 before it takes cosine and sine.
    const angle = Math.fround(timesteps[Math.floor(at / (2 * half))]! * frequencies[i % half]!);
    return i < half ? Math.cos(angle) : Math.sin(angle);
  });
}
