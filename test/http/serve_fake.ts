/** The server's program with a fake engine in a real worker; tests send it signals. */

import { SupervisedEngine } from "../../src/http/engine.ts";
import { main } from "../../src/http/main.ts";
import { connectEngine } from "../../src/engine/worker/client.ts";

const code = await main(Deno.args, (_config, log) =>
  SupervisedEngine.open(() => {
    const url = new URL("./fake_engine_worker.ts", import.meta.url);
    return connectEngine(new Worker(url, { type: "module" }), { stepMs: 5 });
  }, { log, reopenDelays: [0.05] }));
Deno.exit(code);
