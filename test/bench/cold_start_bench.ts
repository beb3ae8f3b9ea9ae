/** What the first start on a machine costs, when the driver compiles every kernel, and the second. */
import { fileURLToPath } from "node:url";
import type { Row } from "./report.ts";

/** Milliseconds by what they were spent on. */
type Start = Readonly<Record<string, number>>;

export async function benchColdStart(add: (row: Row) => void): Promise<void> {
  const cache = await Deno.makeTempDir();
  try {
    for (const name of ["no shader cache", "the driver's shader cache filled"]) {
      const times = await start(cache);
      for (const [what, value] of Object.entries(times)) {
        const time = { name: "ours", best: value, median: value, rounds: 1 };
        add({ group: "start", name: `a new process, ${name}: ${what}`, times: [time] });
      }
    }
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
}

async function start(cache: string): Promise<Start> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", fileURLToPath(new URL("cold_start.ts", import.meta.url))],
    env: { MESA_SHADER_CACHE_DIR: cache },
  }).output();
  const text = new TextDecoder();
  if (!success) throw new Error(`The new process failed: ${text.decode(stderr)}`);
  return JSON.parse(text.decode(stdout));
}
