import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { rows } from "../../src/requests/fields.ts";
import type { FakeEngine } from "../http/fake_engine.ts";
import {
  assertNoErrors,
  galleryHolds,
  generate,
  open,
  screenshot,
  serve,
  studioTests,
  withFolder,
} from "./fixture.ts";

const studioTest = studioTests();

function cards(page: Page) {
  return page.locator("#jobs > li");
}

studioTest(
  "two requests at once: own cards, previews, progress, both images in the gallery",
  { engine: { stepMs: 60 } },
  async (server, browser) => {
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
    await page.waitForSelector("#jobs-section", { state: "hidden" });
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
  async (server, browser) => {
    const { page, errors } = await open(browser, server.url);
    await generate(page, { prompt: "a star", seed: "100", num_images_per_prompt: "3" });
    await galleryHolds(page, 3);
    const facts = await page.locator("#gallery .facts").allInnerTexts();
    assert.deepEqual(facts.map((text) => text.split("seed ")[1]), ["100", "101", "102"]);
    await page.reload();
    await galleryHolds(page, 3);
    assert.deepEqual(await page.locator("#gallery .facts").allInnerTexts(), facts);
    assertNoErrors(errors);
    await page.context().close();
  },
);

studioTest(
  "cancelling one request ends it on the server and leaves the other alone",
  { engine: { stepMs: 50 } },
  async (server, browser) => {
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
  { engine: { stepMs: 120 }, config: { maxConcurrency: 1 } },
  async (server, browser) => {
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
  async (server, browser) => {
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
  "every field of a request is in the form, and is sent",
  {},
  async (server, browser) => {
    const { page, errors } = await open(browser, server.url);
    await page.locator(".more summary").click();
    const written = { text: "a b", whole: "1", number: "0.5", wholes: "1, 2", numbers: "1, 0.5" };
    const read = { text: "a b", whole: 1, number: 0.5, wholes: [1, 2], numbers: [1, 0.5] };
    // Those that not every whole number fits.
    const own = { height: 48, width: 32, numInferenceSteps: 2 };
    const expected: Record<string, unknown> = {};
    for (const { name, json, field } of rows) {
      const value = own[name as keyof typeof own];
      expected[name] = value ?? read[field.kind];
      await page.fill(`#${json}`, value === undefined ? written[field.kind] : `${value}`);
    }
    await screenshot(page, "studio-every-field");
    for (const wrong of ["1, x", "1,", " "]) {
      await page.fill("#skip_guidance_layers", wrong);
      await page.click("#generate");
      assert.ok(await page.isVisible("#skip_guidance_layers-error"), JSON.stringify(wrong));
    }
    await page.fill("#skip_guidance_layers", written.wholes);
    await page.click("#generate");
    await galleryHolds(page, 1);
    assert.deepEqual((server.engine as FakeEngine).requests, [expected]);
    await page.getByRole("button", { name: "Use these settings" }).click();
    assert.equal(await page.inputValue("#sigmas"), "1,0.5");
    assert.equal(await page.inputValue("#prompt_2"), "", "a prompt like the first stays open");
    assertNoErrors(errors);
    await page.context().close();
  },
);

studioTest(
  "an engine's failure and a full queue are told on the card, which can be tried again",
  {
    engine: { stepMs: 30, failures: { "it fails": () => new Error("told to fail") } },
    config: { maxConcurrency: 1, maxQueue: 0 },
  },
  async (server, browser) => {
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

studioTest(
  "a server restart: the request is marked lost, the status comes back, it can be repeated",
  { engine: { stepMs: 50 } },
  async (first, browser) => {
    const { page } = await open(browser, first.url);
    await generate(page, { prompt: "survivor", num_inference_steps: "40" });
    await page.waitForSelector("#jobs img");
    await first.kill();
    const lost = page.locator('#jobs > li[data-state="failed"]');
    await lost.waitFor();
    assert.match(await lost.innerText(), /Lost/);
    await page.waitForSelector('#status .state[data-state="away"]');
    await screenshot(page, "studio-server-gone");
    await withFolder(async (folder) => {
      const second = await serve({ imageDir: `${folder}/images`, port: first.port });
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
    });
  },
);

studioTest(
  "a server with an API key: asked for once, used for everything",
  { config: { apiKey: "secret-key" } },
  async (server, browser) => {
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
