/**
 * A kernel is a `.wgsl` file that compiles as it lies. This module reads its contract (bindings by
 * name, fields of `Params`) and applies the text levels of specialisation; `override`s are left to
 * the pipeline's `constants`.
 */
import { KernelError } from "./errors.ts";
import { type GridPiece, originFields } from "./grid.ts";
import { unroll } from "./unroll.ts";

export type BindingKind =
  | "uniform"
  | "read-only-storage"
  | "storage"
  | "float-texture"
  | "uint-texture"
  | "float-storage-texture"
  | "uint-storage-texture";

export interface KernelBinding {
  readonly name: string;
  readonly index: number;
  readonly kind: BindingKind;
}

export interface ParamField {
  readonly name: string;
  readonly type: "u32" | "i32" | "f32";
}

export interface Kernel {
  readonly name: string;
  readonly source: string;
  readonly bindings: readonly KernelBinding[];
  readonly params: readonly ParamField[];
}

/** What is baked into the text or the pipeline; everything else is a field of `Params`. */
export interface Specialisation {
  /** Right-hand sides of `alias NAME = ...;` lines. */
  readonly alias?: Readonly<Record<string, string>>;
  /** Values of module-scope `const NAME = ...;` lines. */
  readonly const?: Readonly<Record<string, number | boolean>>;
  /** Values of `override`s. */
  readonly override?: Readonly<Record<string, number | boolean>>;
}

/** Reads the contract of a kernel file. `name` is the file's stem. */
export function defineKernel(name: string, source: string): Kernel {
  return { name, source, bindings: readBindings(name, source), params: readParams(source) };
}

const bindingLine =
  /^@group\(0\)\s*@binding\((\d+)\)\s*var(?:<\s*(\w+)\s*(?:,\s*(\w+)\s*)?>)?\s+(\w+)\s*:\s*([^;]+);/gm;

function readBindings(name: string, source: string): KernelBinding[] {
  return [...source.matchAll(bindingLine)].map((match) => {
    const [, index, space, access, binding, type] = match as unknown as string[];
    return { name: binding!, index: Number(index), kind: kindOf(name, space, access, type!) };
  });
}

function kindOf(kernel: string, space?: string, access?: string, type = ""): BindingKind {
  if (space === "uniform") return "uniform";
  if (space === "storage") return access === "read_write" ? "storage" : "read-only-storage";
  if (type.startsWith("texture_2d<f32>")) return "float-texture";
  if (type.startsWith("texture_2d<u32>")) return "uint-texture";
  if (/^texture_storage_2d<rgba32float,\s*read>/.test(type)) return "float-storage-texture";
  if (/^texture_storage_2d<rgba32uint,\s*read>/.test(type)) return "uint-storage-texture";
  throw new KernelError(kernel, `Cannot bind a ${type}: only buffers and 2-D textures are used`);
}

function readParams(source: string): ParamField[] {
  const body = source.match(/^struct Params \{([^}]*)\}/m)?.[1] ?? "";
  const plain = body.replace(/\/\/.*$/gm, "");
  return [...plain.matchAll(/(\w+)\s*:\s*(u32|i32|f32)\b/g)].map(([, name, type]) => ({
    name: name!,
    type: type as ParamField["type"],
  }));
}

/**
 * The kernel's text with its `alias` and `const` lines replaced and its marked loops unrolled. A
 * directive that f16 needs is put before the first line, so that the compilers' line numbers fit
 * files without unrolled loops.
 */
export function specialise(kernel: Kernel, { alias = {}, const: constants = {} }: Specialisation) {
  let text = kernel.source;
  for (const [name, value] of Object.entries(alias)) {
    text = replaceLine(kernel, text, new RegExp(`^(alias ${name} = )[^;]+;`, "m"), name, value);
  }
  for (const [name, value] of Object.entries(constants)) {
    const line = new RegExp(`^(const ${name}(?:: \\w+)? = )([^;]+);`, "m");
    const unsigned = /^\d+u$/.test(text.match(line)?.[2] ?? "");
    text = replaceLine(kernel, text, line, name, unsigned ? `${value}u` : `${value}`);
  }
  const needsF16 = Object.values(alias).some((type) => /\bf16\b|<f16>|vec[234]h/.test(type));
  return (needsF16 ? "enable f16; " : "") + unroll(text);
}

function replaceLine(kernel: Kernel, text: string, line: RegExp, name: string, value: string) {
  const count = text.match(new RegExp(line.source, "gm"))?.length ?? 0;
  if (count !== 1) {
    throw new KernelError(kernel.name, `Cannot specialise ${name}: ${count} lines declare it`);
  }
  return text.replace(line, `$1${value};`);
}

/**
 * Packs `Params` fields, each four bytes, in the order of their declaration. `origin` is the first
 * workgroup of this dispatch, which only a kernel with fields for it may be told.
 */
export function packParams(
  kernel: Kernel,
  fields: Readonly<Record<string, number>>,
  origin: GridPiece["origin"] = [0, 0, 0],
): Uint8Array<ArrayBuffer> {
  const values: Record<string, number> = { ...fields };
  for (const [axis, name] of originFields.entries()) {
    if (kernel.params.some((field) => field.name === name)) values[name] = origin[axis]!;
    else if (origin[axis] !== 0) {
      throw new KernelError(kernel.name, `A grid this large needs ${name} in Params`);
    }
  }
  const bytes = new DataView(
    new ArrayBuffer(Math.max(16, Math.ceil(kernel.params.length / 4) * 16)),
  );
  for (const [i, field] of kernel.params.entries()) {
    const value = values[field.name];
    if (value === undefined || Number.isNaN(value)) {
      throw new KernelError(kernel.name, `Params field ${field.name} is missing`);
    }
    if (field.type === "f32") bytes.setFloat32(4 * i, value, true);
    else if (
      !Number.isInteger(value) || value > 0xffffffff || (value < 0 && field.type === "u32")
    ) {
      throw new KernelError(
        kernel.name,
        `Params field ${field.name} is ${value}, not a ${field.type}`,
      );
    } else bytes.setInt32(4 * i, value, true);
  }
  const unknown = Object.keys(values).filter((key) => !kernel.params.some((f) => f.name === key));
  if (unknown.length) {
    throw new KernelError(kernel.name, `Params has no field ${unknown.join(", ")}`);
  }
  return new Uint8Array(bytes.buffer);
}
