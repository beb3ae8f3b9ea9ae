/** `deno task serve`: one model in GPU memory, many requests at once. See `--help`. */

import { startEngine } from "./src/http/engine.ts";
import { main } from "./src/http/main.ts";

if (import.meta.main) Deno.exit(await main(Deno.args, startEngine));
