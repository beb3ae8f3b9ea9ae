/** What the first start on a machine costs, when the driver compiles every kernel, and the second. */
import type { Row } from "./report.ts";

interface Start {
  readonly open: number;
  readonly first: number;
  readonly second: number;
}

export async function benchColdStart(add: (row: Row) => void): Promise<void> {
  const cache = await Deno.makeTempDir();
  try {
    for (const name of ["no shader cache", "the driver's shader cache filled"]) {
      const { open, first, second } = await start(cache);
      const time = (name: string, value: number) => ({
        name,
        best: value,
        median: value,
        rounds: 1,
      });
      add({
        group: "start",
        name: `a new process, ${name}`,
        times: [
          time("first image", first),
          time("loading", open),
          time("second image", second),
        ],
      });
    }
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
}

async function start(cache: string): Promise<Start> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", new URL("cold_start.ts", import.meta.url).pathname],
    env: { MESA_SHADER_CACHE_DIR: cache },
  }).output();
  const text = new TextDecoder();
  if (!success) throw new Error(`The new process failed: ${text.decode(stderr)}`);
  return JSON.parse(text.decode(stdout));
}
