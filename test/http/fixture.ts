/** An application over a fake engine, in a folder of its own, and what tests ask of it. */

import { createApp, type ServerApp } from "../../src/http/app.ts";
import { parseConfig, type ServerConfig } from "../../src/http/config.ts";
import { ImageStore } from "../../src/http/images.ts";
import type { LogEntry } from "../../src/http/log.ts";
import { encodePng } from "../../src/image/png.ts";
import { FakeEngine, type FakeEngineOptions } from "./fake_engine.ts";

export interface Fixture extends ServerApp {
  readonly engine: FakeEngine;
  readonly images: ImageStore;
  readonly config: ServerConfig;
  readonly logs: LogEntry[];
  readonly folder: string;
  request(path: string, init?: RequestInit): Promise<Response>;
  /** A POST of JSON. */
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
}

/** Runs `test` with a fresh application and removes its folder afterwards. */
export async function withApp(
  options: { config?: Partial<ServerConfig>; engine?: FakeEngineOptions },
  test: (fixture: Fixture) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "http_test_" });
  try {
    const config: ServerConfig = {
      ...parseConfig([], () => undefined),
      imageDir: `${folder}/images`,
      webDir: `${folder}/web`,
      browserModel: `${folder}/model`,
      ...options.config,
    };
    const engine = new FakeEngine({ limits: config, ...options.engine });
    const images = await ImageStore.open(config.imageDir, {
      ttlSeconds: config.imageTtl,
      maxBytes: config.imageMaxBytes,
    });
    const logs: LogEntry[] = [];
    const server = createApp({
      engine,
      config,
      images,
      log: (entry) => logs.push(entry),
      // In the test's own thread: one worker less to wait for.
      encodePng: (image, text) => Promise.resolve(encodePng(image, text)),
    });
    const request = async (path: string, init?: RequestInit) =>
      await server.app.request(path, init);
    await test({
      ...server,
      engine,
      images,
      config,
      logs,
      folder,
      request,
      post: (path, body, init = {}) =>
        request(path, {
          ...init,
          method: "POST",
          headers: { "Content-Type": "application/json", ...init.headers as object },
          body: typeof body === "string" ? body : JSON.stringify(body),
        }),
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

export interface ServerEvent {
  readonly event: string;
  // deno-lint-ignore no-explicit-any -- the shape depends on the event; tests read fields of it
  readonly data: any;
}

/** The events of a stream, as they come. */
export async function* readEvents(response: Response): AsyncGenerator<ServerEvent> {
  let rest = "";
  for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
    rest += text;
    const blocks = rest.split("\n\n");
    rest = blocks.pop()!;
    for (const block of blocks) {
      const field = (name: string) =>
        block.split("\n").filter((line) => line.startsWith(`${name}: `))
          .map((line) => line.slice(name.length + 2)).join("\n");
      if (field("data") !== "") yield { event: field("event"), data: JSON.parse(field("data")) };
    }
  }
}

export async function allEvents(response: Response): Promise<ServerEvent[]> {
  return await Array.fromAsync(readEvents(response));
}

/** Resolves when `condition` holds; fails after two seconds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 2000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`Waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
