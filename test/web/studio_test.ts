import assert from "node:assert/strict";
import type { Browser, Page } from "playwright-core";
import type { FakeEngine } from "../http/fake_engine.ts";
import {
  assertNoErrors,
  builtPage,
  galleryHolds,
  generate,
  launch,
  open,
  screenshot,
  serve,
  type ServeOptions,
  type TestServer,
  withFolder,
} from "./fixture.ts";

let browser: Browser;
Deno.test.beforeAll(async () => {
  browser = await launch();
});
Deno.test.afterAll(async () => {
  await browser.close();
});

/** A test over a server of its own. Playwright and the server keep timers between its steps. */
function studioTest(
  name: string,
  options: Omit<ServeOptions, "imageDir">,
  test: (server: TestServer, folder: string) => Promise<void>,
): void {
  Deno.test({
    name,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: () =>
      withFolder(async (folder) => {
        const server = await serve({ ...options, imageDir: `${folder}/images` });
        try {
          await test(server, folder);
        } finally {
          await server.kill();
        }
      }),
  });
}

function cards(page: Page) {
  return page.locator("#jobs > li");
}

studioTest(
  "two requests at once: own cards, previews, progress, both images in the gallery",
  { engine: { stepMs: 60 } },
  async (server) => {
    const { page, errors, origins } = await open(browser, server.url);
    const steps = { num_inference_steps: "30", width: "256", height: "256" };
    await generate(page, { prompt: "a red circle", seed: "7", ...steps });
    await generate(page, { prompt: "a blue square", seed: "8", ...steps });
    assert.equal(await cards(page).count(), 2);
    await page.waitForFunction(() => document.querySelectorAll("#jobs img").length === 2);
    await page.waitForFunction(() =>
      [...document.querySelectorAll("#jobs progress")].every((bar) =>
        (bar as HTMLProgressElement).value > 1 && (bar as HTMLProgressElement).max === 30
      )
    );
    assert.match(await cards(page).first().locator(".said").innerText(), /^Step \d+ of 30/);
    await page.waitForFunction(() =>
      document.querySelector("#status")?.textContent?.includes("2 active")
    );
    await screenshot(page, "studio-two-running");
    await galleryHolds(page, 2);
    assert.equal(await page.isHidden("#jobs-section"), true);
    const facts = await page.locator("#gallery .facts").allInnerTexts();
    assert.deepEqual(facts.toSorted(), [
      "256 × 256 · 30 steps · guidance 7 · seed 7",
      "256 × 256 · 30 steps · guidance 7 · seed 8",
    ]);
    assert.equal((server.engine as FakeEngine).mostActive, 2);
    assert.deepEqual([...origins], [new URL(server.url).origin]);
    assertNoErrors(errors);
    await page.context().close();
  },
);

studioTest(
  "several images of one request arrive together, in the order of their seeds",
  { engine: { stepMs: 20 } },
  async (server) => {
    const { page, errors } = await open(browser, server.url);
    await generate(page, { prompt: "a star", seed: "100", num_images_per_prompt: "3" });
    await galleryHolds(page, 3);
    const facts = await page.locator("#gallery .facts").allInnerTexts();
    assert.deepEqual(facts.map((text) => text.split("seed ")[1]), ["100", "101", "102"]);
    assertNoErrors(errors);
    await page.context().close();
  },
);

studioTest(
  "cancelling one request ends it on the server and leaves the other alone",
  { engine: { stepMs: 50 } },
  async (server) => {
    const { page, errors } = await open(browser, server.url);
    await generate(page, { prompt: "to be cancelled", num_inference_steps: "150" });
    await generate(page, { prompt: "to be finished", num_inference_steps: "15" });
    await page.waitForFunction(() => document.querySelectorAll("#jobs img").length === 2);
    await page.getByRole("button", { name: "Cancel: to be cancelled" }).click();
    await page.waitForFunction(() => document.querySelectorAll("#jobs > li").length === 1);
    await galleryHolds(page, 1);
    assert.equal(await page.locator("#gallery .prompt").innerText(), "to be finished");
    assert.equal(server.engine.status().requests.active, 0);
    assert.ok((server.engine as FakeEngine).steps < 100, "the cancelled request ran on");
    assertNoErrors(errors);
    await page.context().close();
  },
);

studioTest(
  "a waiting request shows its place in the queue, and moves up",
  { engine: { stepMs: 40 }, config: { maxConcurrency: 1 } },
  async (server) => {
    const { page, errors } = await open(browser, server.url);
    for (const prompt of ["first", "second", "third"]) {
      await generate(page, { prompt, num_inference_steps: "30" });
    }
    const place = (prompt: string) =>
      cards(page).filter({ hasText: prompt }).locator(".waiting strong");
    await place("third").waitFor();
    assert.equal(await place("second").innerText(), "1");
    assert.equal(await place("third").innerText(), "2");
    await screenshot(page, "studio-queue");
    await page.getByRole("button", { name: "Cancel: second" }).click();
    await page.waitForFunction(() =>
      [...document.querySelectorAll("#jobs > li")].some((card) =>
        card.textContent?.includes("third") &&
        card.querySelector(".waiting strong")?.textContent === "1"
      )
    );
    await galleryHolds(page, 2);
    assertNoErrors(errors);
    await page.context().close();
  },
);

studioTest(
  "a refused request is explained at its field, which gets the focus",
  {},
  async (server) => {
    const { page, errors } = await open(browser, server.url);
    await generate(page, { prompt: "a heart", width: "100" });
    await page.waitForSelector("#width-error:not([hidden])");
    assert.match(await page.innerText("#width-error"), /multiple of 16 from 16 to 1024/);
    assert.equal(await page.getAttribute("#width", "aria-invalid"), "true");
    assert.equal(await page.getAttribute("#width", "aria-describedby"), "width-error");
    assert.equal(await page.evaluate(() => document.activeElement?.id), "width");
    assert.equal(await cards(page).count(), 0);
    await screenshot(page, "studio-refused");
    // A field inside the closed part of the form is opened for it.
    await generate(page, { prompt: "a heart", width: "32", num_inference_steps: "0" });
    await page.waitForSelector("#num_inference_steps-error:not([hidden])");
    assert.equal(await page.isVisible("#width-error"), false);
    await page.locator(".more summary").click();
    await page.fill("#max_sequence_length", "9999");
    await page.fill("#num_inference_steps", "4");
    await page.locator(".more summary").click();
    await page.click("#generate");
    await page.waitForSelector("#max_sequence_length-error:not([hidden])");
    await page.fill("#max_sequence_length", "");
    assert.equal(await page.isVisible("#max_sequence_length-error"), false);
    await page.click("#generate");
    await galleryHolds(page, 1);
    assertNoErrors(errors, /status of 422/);
    await page.context().close();
  },
);

studioTest(
  "an engine's failure and a full queue are told on the card, which can be tried again",
  {
    engine: { stepMs: 30, failures: { "it fails": () => new Error("told to fail") } },
    config: { maxConcurrency: 1, maxQueue: 0 },
  },
  async (server) => {
    const { page, errors } = await open(browser, server.url);
    await generate(page, { prompt: "it fails" });
    const failed = page.locator('#jobs > li[data-state="failed"]');
    await failed.waitFor();
    assert.match(await failed.innerText(), /The server failed to answer/);
    await failed.getByRole("button", { name: "Dismiss" }).click();
    await page.waitForFunction(() => document.querySelector<HTMLElement>("#jobs-section")?.hidden);

    await generate(page, { prompt: "runs", num_inference_steps: "20" });
    await page.waitForSelector("#jobs img");
    await generate(page, { prompt: "too many", num_inference_steps: "2" });
    await failed.waitFor();
    assert.match(await failed.innerText(), /Busy/);
    await screenshot(page, "studio-failed");
    await galleryHolds(page, 1);
    await failed.getByRole("button", { name: "Try again" }).click();
    await galleryHolds(page, 2);
    assertNoErrors(errors, /status of 429/);
    await page.context().close();
  },
);

Deno.test({
  name: "a server restart: the request is marked lost, the status comes back, it can be repeated",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () =>
    withFolder(async (folder) => {
      const options = { engine: { stepMs: 50 }, imageDir: `${folder}/images` };
      const first = await serve(options);
      const { page } = await open(browser, first.url);
      await generate(page, { prompt: "survivor", num_inference_steps: "40" });
      await page.waitForSelector("#jobs img");
      await first.kill();
      const lost = page.locator('#jobs > li[data-state="failed"]');
      await lost.waitFor();
      assert.match(await lost.innerText(), /Lost/);
      await page.waitForSelector('#status .state[data-state="away"]');
      await screenshot(page, "studio-server-gone");
      const second = await serve({ ...options, port: first.port });
      try {
        await page.waitForSelector('#status .state[data-state="ready"]');
        await page.fill("#prompt", "new after the restart");
        await lost.getByRole("button", { name: "Try again" }).click();
        await galleryHolds(page, 1);
        assert.equal(await page.locator("#gallery .prompt").innerText(), "survivor");
        await page.click("#generate");
        await galleryHolds(page, 2);
      } finally {
        await page.context().close();
        await second.kill();
      }
    }),
});

studioTest(
  "the gallery: kept over a reload, settings, curl, download, viewer, deletion",
  { engine: { stepMs: 5 } },
  async (server) => {
    const { page, errors } = await open(browser, server.url, {
      permissions: ["clipboard-read", "clipboard-write"],
    });
    await generate(page, {
      prompt: 'it\'s a "quoted" prompt',
      negative_prompt: "blurry",
      width: "64",
      height: "48",
      num_inference_steps: "6",
      guidance_scale: "4.5",
      seed: "41",
      num_images_per_prompt: "2",
    });
    await galleryHolds(page, 2);
    await page.reload();
    await galleryHolds(page, 2);
    assert.equal(await page.inputValue("#width"), "64", "the form is kept as it was left");

    await page.fill("#prompt", "something else");
    await page.fill("#seed", "");
    const second = page.locator("#gallery > li").nth(1);
    await second.getByRole("button", { name: "Use these settings" }).click();
    const values: Record<string, string> = {};
    for (const name of ["prompt", "negative_prompt", "width", "height", "seed"]) {
      values[name] = await page.inputValue(`#${name}`);
    }
    assert.deepEqual(values, {
      prompt: 'it\'s a "quoted" prompt',
      negative_prompt: "blurry",
      width: "64",
      height: "48",
      seed: "42",
    });
    assert.equal(await page.inputValue("#num_images_per_prompt"), "1");

    await second.getByRole("button", { name: "Copy as curl" }).click();
    await page.waitForSelector(".note");
    const command = await page.evaluate(() => navigator.clipboard.readText());
    const run = await new Deno.Command("sh", { args: ["-c", command] }).output();
    const answer = JSON.parse(new TextDecoder().decode(run.stdout));
    assert.deepEqual(answer.seeds, [42]);

    const downloading = page.waitForEvent("download");
    await second.getByRole("button", { name: "Download" }).click();
    const download = await downloading;
    assert.equal(download.suggestedFilename(), "it-s-a-quoted-prompt-42.png");
    const saved = await Deno.readFile(await download.path());
    const again = new Uint8Array(await (await fetch(answer.response[0])).arrayBuffer());
    assert.deepEqual(saved, again);

    await second.getByRole("button", { name: /^Open image/ }).click();
    const viewer = page.locator("#viewer");
    assert.match(await viewer.innerText(), /2 of 2[^]*64 × 48[^]*4\.5[^]*blurry[^]*fake-sd3/);
    await screenshot(page, "studio-viewer");
    await page.keyboard.press("ArrowLeft");
    assert.match(await viewer.innerText(), /1 of 2/);
    await viewer.getByRole("button", { name: "Delete" }).click();
    assert.match(await viewer.innerText(), /1 of 1/);
    await page.keyboard.press("Escape");
    await galleryHolds(page, 1);
    await page.reload();
    await galleryHolds(page, 1);
    await page.click("#gallery-clear");
    await page.getByRole("button", { name: "Keep them" }).click();
    await galleryHolds(page, 1);
    await page.click("#gallery-clear");
    await page.locator("#ask-clear").getByRole("button", { name: "Delete all" }).click();
    await galleryHolds(page, 0);
    assert.equal(await page.isVisible("#gallery-empty"), true);
    assertNoErrors(errors);
    await page.context().close();
  },
);

studioTest(
  "with the keyboard alone: write, generate, open, leave, cancel",
  { engine: { stepMs: 30 } },
  async (server) => {
    const { page, errors } = await open(browser, server.url);
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement?.className), "skip");
    await tabTo(page, "#prompt");
    await page.keyboard.type("typed by hand");
    await page.keyboard.press("Control+Enter");
    await galleryHolds(page, 1);
    await tabTo(page, "#num_inference_steps");
    await page.keyboard.type("100");
    await tabTo(page, "#generate");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#jobs img");
    await tabTo(page, "#jobs button");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.querySelector<HTMLElement>("#jobs-section")?.hidden);
    await tabTo(page, "#gallery button.frame");
    const outline = await page.evaluate(() =>
      getComputedStyle(document.activeElement!).outlineStyle
    );
    assert.equal(outline, "solid", "the focus is seen");
    await page.keyboard.press("Enter");
    assert.equal(await page.locator("#viewer").isVisible(), true);
    await page.keyboard.press("Escape");
    assert.equal(await page.locator("#viewer").isVisible(), false);
    const focus = await page.evaluate(() => document.activeElement?.className);
    assert.equal(focus, "frame", "the focus is back where it was");
    assertNoErrors(errors);
    await page.context().close();
  },
);

/** Presses Tab until the first element that matches has the focus. */
async function tabTo(page: Page, selector: string): Promise<void> {
  for (let presses = 0; presses < 60; presses++) {
    const there = await page.evaluate(
      (selector) => document.activeElement === document.querySelector(selector),
      selector,
    );
    if (there) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`${selector} is not reached with Tab`);
}

studioTest(
  "a server with an API key: asked for once, used for everything",
  { config: { apiKey: "secret-key" } },
  async (server) => {
    const { page, errors } = await open(browser, server.url, { wait: false });
    await page.locator("#ask-key").waitFor({ state: "visible" });
    await screenshot(page, "studio-api-key");
    await page.fill("#api-key", "secret-key");
    await page.keyboard.press("Enter");
    await page.waitForSelector('#status .state[data-state="ready"]');
    await generate(page, { prompt: "allowed" });
    await galleryHolds(page, 1);
    await page.reload();
    await page.waitForSelector('#status .state[data-state="ready"]');
    assertNoErrors(errors, /status of 401/);
    await page.context().close();
  },
);

for (const scheme of ["light", "dark"] as const) {
  studioTest(
    `on a phone's width, ${scheme}: nothing is cut off or overlaps`,
    { engine: { stepMs: 40 } },
    async (server) => {
      const { page, errors } = await open(browser, server.url, {
        viewport: { width: 390, height: 844 },
        colorScheme: scheme,
        hasTouch: true,
        isMobile: true,
      });
      const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      assert.equal(background, scheme === "light" ? "rgb(246, 245, 242)" : "rgb(22, 22, 20)");
      await screenshot(page, `phone-${scheme}-form`);
      await generate(page, { prompt: "finished", num_inference_steps: "2" });
      await galleryHolds(page, 1);
      const prompt = "a rather long prompt, of the kind that people write, ".repeat(4);
      await generate(page, { prompt, num_inference_steps: "50" });
      await page.waitForSelector("#jobs img");
      await page.locator("#jobs").scrollIntoViewIfNeeded();
      await screenshot(page, `phone-${scheme}-running`);
      const overflow = await page.evaluate(() => ({
        page: document.documentElement.scrollWidth - innerWidth,
        wide: [...document.querySelectorAll("body *")].filter((element) =>
          element.getBoundingClientRect().right > innerWidth + 1
        ).map((element) => element.className),
      }));
      assert.deepEqual(overflow, { page: 0, wide: [] });
      await page.locator("#gallery button.frame").first().click();
      await screenshot(page, `phone-${scheme}-viewer`);
      assertNoErrors(errors);
      await page.context().close();
    },
  );
}

Deno.test("the bundle: under 400 KB of compressed script, no inline code, no foreign address", async () => {
  const folder = await builtPage();
  let compressed = 0;
  for await (const { name } of Deno.readDir(folder)) {
    if (!name.endsWith(".js")) continue;
    const stream = (await Deno.open(`${folder}/${name}`)).readable
      .pipeThrough(new CompressionStream("gzip"));
    compressed += (await new Response(stream).arrayBuffer()).byteLength;
  }
  assert.ok(compressed > 1000 && compressed < 400_000, `${compressed} bytes`);
  const html = await Deno.readTextFile(`${folder}/index.html`);
  assert.equal(/<script(?![^>]*\bsrc=)|\sstyle=|<style|\son\w+=/.test(html), false);
  assert.equal(/(?:src|href)="(?:https?:)?\/\//.test(html), false);
});
