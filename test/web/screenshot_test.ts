/**
 * The studio as a visitor sees it, on the real engine with the embedded model. The picture goes to
 * the git-ignored screenshots; with STUDIO_SCREENSHOT=1, or where there is none, to docs/ as well.
 */
import assert from "node:assert/strict";
import { parseConfig } from "../../src/http/config.ts";
import { startEngine } from "../../src/http/engine.ts";
import {
  allFinish,
  assertNoErrors,
  generate,
  launch,
  open,
  screenshot,
  screenshotFolder,
  serve,
  withFolder,
} from "./fixture.ts";

const published = "docs/studio.png";
const finished = [
  "a yellow star on a purple background",
  "an emoji of a pizza",
  "a red heart on a white background",
  "a green diamond on an orange background",
  "a rocket on a blue background",
  "a strawberry",
  "a panda on a green background",
];
const running = ["a fox on a white background", "a hot air balloon on a blue background"];

Deno.test({
  name: "the studio on the real engine: finished and running requests, one picture of them",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () =>
    withFolder(async (folder) => {
      const engine = await startEngine(parseConfig(["--no-tune"], () => undefined), () => {});
      const server = await serve({ engine, imageDir: `${folder}/images` });
      const browser = await launch();
      try {
        const { page, errors } = await open(browser, server.url);
        page.setDefaultTimeout(120_000);
        const settings = { guidance_scale: "4", num_inference_steps: "8" };
        for (const [k, prompt] of finished.entries()) {
          await generate(page, { prompt, seed: String(k + 1), ...settings });
        }
        await allFinish(page, finished.length);
        const facts = await page.locator("#gallery .facts").first().innerText();
        assert.match(facts, /^128 × 128 · 8 steps · guidance 4 · seed \d$/);
        for (const [k, prompt] of running.entries()) {
          await generate(page, {
            prompt,
            seed: "3",
            ...settings,
            // Enough to be running still when the picture is taken.
            num_inference_steps: `${150 - 30 * k}`,
          });
        }
        await page.fill("#seed", "");
        await page.fill("#num_inference_steps", "28");
        await page.waitForFunction(() =>
          document.querySelectorAll("#jobs img").length === 2 &&
          [...document.querySelectorAll("#jobs progress")].every((bar) =>
            (bar as HTMLProgressElement).position >= 0.4
          )
        );
        await screenshot(page, "studio");
        for (const prompt of running) {
          await page.getByRole("button", { name: `Cancel: ${prompt}` }).click();
        }
        await page.waitForFunction(() =>
          document.querySelector<HTMLElement>("#jobs-section")?.hidden
        );
        // A request may have ended on its own in the moment it was cancelled.
        assertNoErrors(errors, /status of 409/);
        const there = await Deno.stat(published).then(() => true, () => false);
        if (!there || Deno.env.get("STUDIO_SCREENSHOT") === "1") {
          await Deno.mkdir("docs", { recursive: true });
          await Deno.copyFile(`${screenshotFolder}/studio.png`, published);
        }
      } finally {
        await browser.close();
        await server.kill();
        await engine.close();
      }
    }),
});
