/**
 * Decides on what is not plain data, an object or a function, found at `path`: answers with what the
 * copy shall hold. `fill(empty)` copies the object's properties into `empty`.
 */
export type CloneOther = (
  value: object,
  path: string,
  fill: (empty: object) => object,
) => unknown;

/** What stands for an object in the copy, before its kind is looked at; undefined to go on. */
export type Replace = (value: object, path: string) => unknown;

/**
 * A deep copy of plain data: Map, Set, Array, plain object, typed array, ArrayBuffer, DataView, Date.
 * Types, subclasses, property descriptors and cycles are kept; anything else is for `other` to decide.
 */
export function cloneData<T>(
  value: T,
  other: CloneOther,
  { path = "", replace }: { readonly path?: string; readonly replace?: Replace } = {},
): T {
  const copies = new Map<object, object>();
  const clone = (child: unknown, at: string): unknown => {
    if (child === null || (typeof child !== "object" && typeof child !== "function")) return child;
    const known = copies.get(child);
    if (known) return known;
    const replaced = replace?.(child, at);
    if (replaced !== undefined) return replaced;
    const remember = <C extends object>(copy: C): C => {
      copies.set(child, copy);
      return copy;
    };
    if (ArrayBuffer.isView(child)) return remember(cloneView(child));
    if (child instanceof ArrayBuffer) return remember(child.slice(0));
    if (child instanceof Date) return remember(alike(new Date(child), child));
    if (child instanceof Map) {
      const copy = remember(alike(new Map<unknown, unknown>(), child));
      for (const [key, entry] of child) {
        Map.prototype.set.call(
          copy,
          clone(key, `${at} key`),
          clone(entry, `${at}[${String(key)}]`),
        );
      }
      return copy;
    }
    if (child instanceof Set) {
      const copy = remember(alike(new Set<unknown>(), child));
      for (const entry of child) Set.prototype.add.call(copy, clone(entry, `${at} entry`));
      return copy;
    }
    if (Array.isArray(child)) {
      const copy = remember(alike(new Array<unknown>(child.length), child));
      return copyProperties(child, copy, at, clone);
    }
    if (isPlainObject(child)) {
      return copyProperties(child, remember(alike({}, child)), at, clone);
    }
    const fill = (empty: object) => copyProperties(child, remember(empty), at, clone);
    const copy = other(child, at, fill);
    return typeof copy === "object" && copy !== null ? remember(copy) : copy;
  };
  return clone(value, path) as T;
}

/** Whether an object is a literal or has no prototype. */
export function isPlainObject(value: object): boolean {
  if (typeof value === "function") return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null &&
      Object.hasOwn(prototype, "hasOwnProperty");
}

/** Copies own properties with their descriptors; a frozen source gives a copy that can change. */
function copyProperties<T extends object>(
  source: object,
  copy: T,
  path: string,
  cloneChild: (child: unknown, path: string) => unknown,
): T {
  for (const [name, descriptor] of descriptors(source)) {
    if (Array.isArray(source) && name === "length") continue;
    if ("value" in descriptor) {
      descriptor.value = cloneChild(
        descriptor.value,
        path ? `${path}.${String(name)}` : String(name),
      );
      descriptor.writable = true;
    }
    Object.defineProperty(copy, name, { ...descriptor, configurable: true });
  }
  return copy;
}

function descriptors(source: object): [PropertyKey, PropertyDescriptor][] {
  return Reflect.ownKeys(source).map((name) => [
    name,
    Reflect.getOwnPropertyDescriptor(source, name)!,
  ]);
}

function cloneView(view: ArrayBufferView): ArrayBufferView {
  if (view instanceof DataView) {
    const bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
    return new DataView(bytes as ArrayBuffer);
  }
  // The method of the common prototype: a subclass may have a `slice` that shares memory.
  return Uint8Array.prototype.slice.call(view) as ArrayBufferView;
}

/** Gives a copy the source's prototype, so that a subclass stays one. */
function alike<T extends object>(copy: T, source: object): T {
  const prototype = Object.getPrototypeOf(source);
  return Object.getPrototypeOf(copy) === prototype ? copy : Object.setPrototypeOf(copy, prototype);
}
