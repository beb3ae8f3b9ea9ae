/** A small text file of this machine that is replaced as a whole: where tuning results are kept. */

import type { TuningStore } from "../gpu/tuning_cache.ts";

/** Its folder is made when it is needed. Readers see the old text or the new one, nothing between. */
export function textFile(path: string): TuningStore {
  return {
    async load() {
      try {
        return await Deno.readTextFile(path);
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) return undefined;
        throw error;
      }
    },
    async save(text) {
      const slash = path.lastIndexOf("/");
      if (slash > 0) await Deno.mkdir(path.slice(0, slash), { recursive: true });
      const temporary = `${path}.${crypto.randomUUID()}.tmp`;
      try {
        await Deno.writeTextFile(temporary, text);
        await Deno.rename(temporary, path);
      } catch (error) {
        await Deno.remove(temporary).catch(() => {});
        throw error;
      }
    },
  };
}
