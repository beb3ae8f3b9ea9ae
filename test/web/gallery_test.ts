import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import {
  assertNoErrors,
  galleryHolds,
  generate,
  open,
  screenshot,
  studioTests,
} from "./fixture.ts";

const studioTest = studioTests();

studioTest(
  "the gallery: kept over a reload, settings, curl, download, viewer, deletion",
  { engine: { stepMs: 5 } },
  async (server, browser) => {
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
    // The picture goes from the store first, then from the viewer.
    await viewer.getByText("1 of 1").waitFor();
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
  async (server, browser) => {
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
