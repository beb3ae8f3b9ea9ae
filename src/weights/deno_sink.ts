/** Writes files below a folder of this machine: what exporters and converters write to. */

import type { FileSink } from "./sink.ts";

/** Folders are made as needed; a file of the same name is replaced. */
export function directorySink(directory: string): FileSink {
  return {
    async create(path) {
      const full = `${directory}/${path}`;
      await Deno.mkdir(full.slice(0, full.lastIndexOf("/")), { recursive: true });
      const file = await Deno.open(full, { create: true, write: true, truncate: true });
      return {
        async write(bytes) {
          for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
        },
        close: () => Promise.resolve(file.close()),
      };
    },
  };
}
