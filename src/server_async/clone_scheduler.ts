import { cloneData, isPlainObject } from "./clone_data.ts";

/**
 * An independent copy of any scheduler: by its own `clone()` where it has one, otherwise property by
 * property.
 *
 * @throws {Error} that says why if it cannot be told to share nothing with the original
 */
export function cloneScheduler<S extends object>(scheduler: S): S {
  const name = scheduler.constructor?.name ?? "scheduler";
  try {
    return deepCopy(scheduler, name);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`The scheduler ${name} cannot be cloned for a request: ${reason}`, { cause });
  }
}

function deepCopy<S extends object>(scheduler: S, name: string): S {
  const copyInstance = (value: object, path: string): object | undefined => {
    const { clone } = value as { clone?: unknown };
    if (typeof clone !== "function") return undefined;
    const copy: unknown = Reflect.apply(clone, value, []);
    if (typeof copy !== "object" || copy === null || copy === value) {
      throw new TypeError(`clone() of ${path} did not return another object`);
    }
    return copy;
  };
  const own = copyInstance(scheduler, name);
  if (own) return own as S;

  // A method of an object literal is called on the copy. A function stored in a class instance is
  // nearly always bound to that instance, and would go on working on the original.
  const literal = isPlainObject(scheduler);
  return cloneData(scheduler, (value, path, fill) => {
    if (typeof value === "function") {
      if (literal) return value;
      throw new TypeError(`property ${path} is a function, perhaps bound to it; add a clone()`);
    }
    const copy = value === scheduler ? undefined : copyInstance(value, path);
    if (copy) return copy;
    if (Object.prototype.toString.call(value) !== "[object Object]") {
      const kind = value.constructor?.name ?? typeof value;
      throw new TypeError(`property ${path || name} is a ${kind}, which has no copy`);
    }
    return fill(Object.create(Object.getPrototypeOf(value)));
  });
}
