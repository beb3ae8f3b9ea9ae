/** `deno task serve`: one model in GPU memory, many requests at once. See `--help`. */

import { prepareAdapter } from "./adapter.ts";
import { startEngine } from "./src/http/engine.ts";
import { main } from "./src/http/main.ts";

if (import.meta.main) {
  const code = await main(Deno.args, (config, log) => {
    const { vectorBits } = prepareAdapter();
    return startEngine(config, log, vectorBits);
  });
  Deno.exit(code);
}
