/** A pipeline that moves its networks in and out has them in for as long as a request runs. */
import assert from "node:assert/strict";
import { RequestScopedPipeline } from "../../src/server_async/request_scoped.ts";

interface Call {
  readonly ends: "well" | "badly" | "aborted";
}

/** Shared by all views, as a class instance; the list itself would be each view's own. */
class Log {
  readonly lines: string[] = [];
}

/** Notes what happens in what order; `inside` counts the contexts that are entered. */
class Offloading {
  readonly shared = new Log();
  inside = 0;

  get log(): string[] {
    return this.shared.lines;
  }

  modelCpuOffloadContext(): AsyncDisposable | Promise<AsyncDisposable> {
    this.log.push("enter");
    this.inside++;
    return {
      [Symbol.asyncDispose]: async () => {
        await Promise.resolve();
        this.inside--;
        this.log.push("leave");
      },
    };
  }

  async generate({ ends }: Call, { signal }: { signal?: AbortSignal } = {}): Promise<number> {
    this.log.push(`generate in ${this.inside}`);
    await Promise.resolve();
    if (ends === "badly") throw new Error("failed on purpose");
    if (ends === "aborted") {
      await new Promise((_, reject) =>
        signal!.addEventListener("abort", () => reject(signal!.reason), { once: true })
      );
    }
    return this.inside;
  }
}

Deno.test("generate runs inside the offload context and leaves it", async () => {
  const base = new Offloading();
  assert.equal(await new RequestScopedPipeline(base).generate({ ends: "well" }), 1);
  assert.deepEqual(base.log, ["enter", "generate in 1", "leave"]);
  assert.equal(base.inside, 0);
});

Deno.test("an error and an abort leave the offload context, too", async () => {
  const base = new Offloading();
  const scoped = new RequestScopedPipeline(base);
  await assert.rejects(scoped.generate({ ends: "badly" }), /failed on purpose/);
  assert.equal(base.log.at(-1), "leave");
  const stop = new AbortController();
  const running = scoped.generate({ ends: "aborted" }, { signal: stop.signal });
  await new Promise((resolve) => setTimeout(resolve));
  assert.equal(base.inside, 1);
  stop.abort(new Error("gone"));
  await assert.rejects(running, /gone/);
  assert.equal(base.inside, 0);
});

Deno.test("a context that opens later, or not at all, and requests beside each other", async () => {
  class Late extends Offloading {
    fails = false;
    override async modelCpuOffloadContext(): Promise<AsyncDisposable> {
      await Promise.resolve();
      if (this.fails) throw new Error("no room on the CPU");
      return await super.modelCpuOffloadContext();
    }
  }
  const base = new Late();
  const scoped = new RequestScopedPipeline(base);
  await Promise.all([scoped.generate({ ends: "well" }), scoped.generate({ ends: "well" })]);
  assert.equal(base.log.filter((word) => word === "leave").length, 2);
  assert.equal(base.inside, 0);

  const stop = new AbortController();
  const entering = scoped.generate({ ends: "well" }, { signal: stop.signal });
  stop.abort(new Error("gone"));
  const calls = base.log.length;
  await assert.rejects(entering, /gone/);
  assert.deepEqual(base.log.slice(calls), ["enter", "leave"], "an aborted request was run");

  base.fails = true;
  await assert.rejects(scoped.generate({ ends: "well" }), /no room on the CPU/);
  const none = { modelCpuOffloadContext: null, generate: () => 7 };
  assert.equal(await new RequestScopedPipeline(none).generate(undefined as never), 7);
});
