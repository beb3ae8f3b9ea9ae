/** A worker with a fake engine, which some prompts break in the ways that real workers break. */

import { DeviceLostError } from "../../src/gpu/errors.ts";
import type { MessageEndpoint } from "../../src/engine/worker/protocol.ts";
import { serveEngine } from "../../src/engine/worker/host.ts";
import { FakeEngine, type FakeEngineOptions } from "./fake_engine.ts";

serveEngine(self as unknown as MessageEndpoint, (options) => {
  const { stepMs = 0 } = options as FakeEngineOptions;
  const engine = new FakeEngine({
    stepMs,
    failures: {
      "lose the device": () => {
        const error = new DeviceLostError("a test lost the device");
        engine.lose(error);
        return error;
      },
      "block the worker": () => {
        const end = performance.now() + 1000;
        while (performance.now() < end);
        return new Error("blocked for a second");
      },
    },
  });
  const run = engine.run.bind(engine);
  engine.run = (request, options) => {
    if (request.prompt !== "break the worker") return run(request, options);
    // Outside of every promise: nothing in the worker can catch it, and nobody is answered.
    setTimeout(() => {
      throw new Error("a test broke the worker");
    });
    return new Promise(() => {});
  };
  return Promise.resolve(engine);
});
