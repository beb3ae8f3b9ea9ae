/** A real headless Chromium on the bundled page, over the real application and a fake engine. */

import assert from "node:assert/strict";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { createApp, type ServerApp } from "../../src/http/app.ts";
import { parseConfig, type ServerConfig } from "../../src/http/config.ts";
import { ImageStore } from "../../src/http/images.ts";
import { encodePng } from "../../src/image/png.ts";
import type { Engine } from "../../src/engine/types.ts";
import { buildPage } from "../../src/web/build.ts";
import { FakeEngine, type FakeEngineOptions } from "../http/fake_engine.ts";

/** Where screenshots go, to be looked at; git does not keep the folder. */
export const screenshotFolder = "dist/screenshots";

const flags = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const webgpuFlag = "--enable-unsafe-webgpu";

let pageFolder: Promise<string> | undefined;

/** The bundle, made once a test run. */
export function builtPage(): Promise<string> {
  return pageFolder ??= (async () => {
    const folder = "dist/test-web";
    await Deno.mkdir(folder, { recursive: true });
    await buildPage(await Deno.realPath(folder));
    return folder;
  })();
}

export async function launch(options: { webgpu?: boolean } = {}): Promise<Browser> {
  return await chromium.launch({
    executablePath: Deno.env.get("CHROMIUM") ?? "/usr/bin/chromium",
    args: options.webgpu === false ? flags : [...flags, webgpuFlag],
  });
}

export interface TestServer extends ServerApp {
  readonly engine: Engine;
  readonly url: string;
  readonly port: number;
  /** Ends every connection at once, as a killed process would. */
  kill(): Promise<void>;
}

export interface ServeOptions {
  readonly config?: Partial<ServerConfig>;
  readonly engine?: Engine | FakeEngineOptions;
  readonly port?: number;
  readonly imageDir: string;
}

export async function serve(options: ServeOptions): Promise<TestServer> {
  const config: ServerConfig = {
    ...parseConfig([], () => undefined),
    imageDir: options.imageDir,
    webDir: await builtPage(),
    ...options.config,
  };
  const engine = options.engine !== undefined && "generate" in options.engine
    ? options.engine
    : new FakeEngine({ limits: config, ...options.engine });
  const images = await ImageStore.open(config.imageDir, { ttlSeconds: 0, maxBytes: 0 });
  const server = createApp({
    engine,
    config,
    images,
    log: () => {},
    encodePng: (image, text) => Promise.resolve(encodePng(image, text)),
  });
  const abort = new AbortController();
  const http = Deno.serve({
    hostname: "127.0.0.1",
    port: options.port ?? 0,
    signal: abort.signal,
    onListen: () => {},
  }, server.app.fetch);
  const { port } = http.addr;
  return {
    ...server,
    engine,
    port,
    url: `http://127.0.0.1:${port}/`,
    async kill() {
      abort.abort();
      await http.finished;
    },
  };
}

export interface OpenPage {
  readonly page: Page;
  /** Errors of the page's console and uncaught ones. */
  readonly errors: string[];
  /** Origins of all requests. */
  readonly origins: Set<string>;
}

/** Opens the page in a context of its own and waits until the server's status is shown. */
export async function open(
  browser: Browser,
  url: string,
  options: BrowserContextOptions & { wait?: boolean } = {},
): Promise<OpenPage> {
  const { wait = true, ...rest } = options;
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...rest });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const errors: string[] = [];
  const origins = new Set<string>();
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") errors.push(message.text());
  });
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("request", (request) => {
    if (/^https?:/.test(request.url())) origins.add(new URL(request.url()).origin);
  });
  await page.goto(url);
  if (wait) await page.waitForSelector('#status .state[data-state="ready"]');
  return { page, errors, origins };
}

export interface Fill {
  readonly prompt: string;
  readonly [field: string]: string;
}

/** Fills the named fields and presses Generate. */
export async function generate(page: Page, fields: Fill): Promise<void> {
  for (const [name, value] of Object.entries(fields)) await page.fill(`#${name}`, value);
  await page.click("#generate");
}

/** Waits until the gallery holds `count` images, all of them on disk. */
export async function galleryHolds(page: Page, count: number): Promise<void> {
  await page.waitForFunction(
    (count) =>
      document.querySelectorAll("#gallery > li[data-kept]").length === count &&
      document.querySelectorAll("#gallery > li").length === count,
    count,
  );
}

/** The same where no request may fail: a failed one ends the wait with its reason. */
export async function allFinish(page: Page, count: number): Promise<void> {
  const failed = page.locator('#jobs > li[data-state="failed"]').first();
  const failure = failed.waitFor({ timeout: 0 }).then(async () =>
    assert.fail(await failed.innerText())
  );
  // It goes on waiting when the images have come, until the page is closed.
  failure.catch(() => {});
  await Promise.race([galleryHolds(page, count), failure]);
}

export async function screenshot(page: Page, name: string, fullPage = false): Promise<void> {
  await Deno.mkdir(screenshotFolder, { recursive: true });
  await page.screenshot({ path: `${screenshotFolder}/${name}.png`, fullPage });
}

/** Runs `test` with a folder that is removed afterwards. */
export async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "web_test_" });
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The network's own lines about refused requests are expected where a test provokes them. */
export function assertNoErrors(errors: readonly string[], allowed?: RegExp): void {
  assert.deepEqual(errors.filter((text) => !allowed?.test(text)), []);
}

/** A test over a server of its own, in a browser that the file's tests share. */
export type StudioTest = (
  name: string,
  options: Omit<ServeOptions, "imageDir">,
  test: (server: TestServer, browser: Browser) => Promise<void>,
) => void;

/** Starts a browser before the file's first test and ends it after the last. */
export function studioTests(): StudioTest {
  let browser: Browser;
  Deno.test.beforeAll(async () => {
    browser = await launch();
  });
  Deno.test.afterAll(async () => {
    await browser.close();
  });
  return (name, options, test) =>
    Deno.test({
      name,
      // Playwright and the server keep timers and sockets between a test's steps.
      sanitizeOps: false,
      sanitizeResources: false,
      fn: () =>
        withFolder(async (folder) => {
          const server = await serve({ ...options, imageDir: `${folder}/images` });
          try {
            await test(server, browser);
          } finally {
            await server.kill();
          }
        }),
    });
}
