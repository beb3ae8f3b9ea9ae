/**
 * How often one invocation goes round its kernel's loops at most, all loops together: some driver
 * stops after 65,535 and says nothing (`README`, Limits). Loops that are unrolled do not count.
 */
import type { RecordedDispatch } from "./recording.ts";

export const mostIterations = 65_535;

type Numbers = Readonly<Record<string, number>>;

interface Loops {
  /** `for` lines of the file that stay loops: another number means that this entry is out of date. */
  readonly loops: number;
  /** Of a dispatch with these params; `c`: constants and overrides of its form. */
  readonly iterations: (p: Numbers, c: Numbers) => number;
}

const { ceil, floor } = Math;
const strip: Loops = { loops: 2, iterations: (p) => floor(p.strip_pixels! / 4) + 3 };
/** A tile's sums leave it in a loop over its rows for every four columns. */
const epilogue = (c: Numbers) => c.THREAD_N! / 4 * c.THREAD_M!;
const linear: Loops = { loops: 2, iterations: (p, c) => p.k8! + epilogue(c) };
const three: Loops = { loops: 3, iterations: (p, c) => 3 * (1 + p.c8!) + epilogue(c) };
const taps = (p: Numbers) => p.kernel! * (1 + p.kernel! * (1 + p.c8!));
/** The sums of 64 lanes meet. */
const tree = 6;

/** Every kernel with loops, by name. */
const kernels: Readonly<Record<string, Loops>> = {
  attention: { loops: 1, iterations: (p) => p.tokens0! + p.tokens1! },
  attention_texture: { loops: 1, iterations: (p, c) => ceil(p.tokens! / c.KEYS!) },
  attention_tile: {
    loops: 5,
    iterations: (p, c) => ceil((p.tokens0! + p.tokens1!) / 32) * (1 + 2 * c.HEAD_CHUNKS! + 8),
  },
  conv2d_3x3_texture: three,
  conv2d_3x3_tile: three,
  conv2d_texture: { loops: 4, iterations: (p, c) => taps(p) + epilogue(c) },
  conv2d_tile: { loops: 3, iterations: taps },
  conv2d_workgroup: {
    loops: 3,
    iterations: (p, c) => p.kernel! ** 2 * (1 + ceil(8 * p.c8! / c.STEP!) * (1 + c.STEP!)),
  },
  group_norm_apply: strip,
  group_norm_apply_texture: strip,
  group_norm_join: {
    loops: 7,
    iterations: (p) =>
      2 * ceil(p.strip_count! / 64) * (1 + p.group_channels!) + 2 * tree +
      ceil(p.group_channels! / 64),
  },
  group_norm_strips: strip,
  group_norm_strips_texture: strip,
  guided_combination: { loops: 3, iterations: (p) => p.slots! + (1 + p.slots!) ** 2 },
  layer_norm: { loops: 4, iterations: (p) => 2 * ceil(p.channels4! / 64) + 2 * tree },
  layer_norm_row: {
    loops: 3,
    iterations: (p, c) => c.ROWS! * (floor(p.channels4! / 4) + 3) + p.channels4!,
  },
  linear_texture: linear,
  linear_texture_quantized: linear,
  linear_tile: linear,
  linear_vector: { loops: 2, iterations: (p) => ceil(p.k8! / 64) + tree },
  linear_workgroup: {
    loops: 3,
    iterations: (p, c) =>
      ceil(8 * p.k8! / c.STEP!) * (1 + ceil(8 * c.LANES! / c.LANES! ** 2) + c.STEP!),
  },
  rms_norm: { loops: 3, iterations: (p) => 2 * ceil(p.channels4! / 64) + tree },
  rms_norm_row: { loops: 2, iterations: (p, c) => (1 + c.ROWS!) * p.channels4! },
  softmax_rows: {
    loops: 5,
    iterations: (p, c) => 3 * ceil(p.row_chunks! / c.GROUP!) + 2 * c.GROUP!,
  },
};

/** Throws where a kernel's loops are not those that are counted here. */
export function iterations({ form, params }: RecordedDispatch): number {
  const known = kernels[form.kernel];
  const loops = loopsOf(form.kernel);
  if (loops !== (known?.loops ?? 0)) {
    throw new Error(
      `${form.kernel} has ${loops} loops that are not unrolled, ${known?.loops ?? 0} are counted`,
    );
  }
  return known?.iterations(params, numbersOf(form.code, form.constants)) ?? 0;
}

const found = new Map<string, number>();

function loopsOf(kernel: string): number {
  let loops = found.get(kernel);
  if (loops === undefined) {
    const path = new URL(`../../kernels/${kernel}.wgsl`, import.meta.url);
    const lines = Deno.readTextFileSync(path).split("\n");
    loops = lines.filter((line) => /^\s*(for|while|loop)\b(?!.*\/\/ unroll$)/.test(line)).length;
    found.set(kernel, loops);
  }
  return loops;
}

const numbers = new Map<string, Numbers>();

/** Values of a form's plain constants and overrides. */
function numbersOf(code: string, overrides: Numbers): Numbers {
  let constants = numbers.get(code);
  if (!constants) {
    const lines = code.matchAll(/^(?:const|override) (\w+)(?:: \w+)? = (\d+)u?;/gm);
    constants = Object.fromEntries(
      [...lines].map(([, name, value]) => [name!, Number(value)] as const),
    );
    numbers.set(code, constants);
  }
  return { ...constants, ...overrides };
}
