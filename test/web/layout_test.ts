import assert from "node:assert/strict";
import {
  assertNoErrors,
  builtPage,
  galleryHolds,
  generate,
  open,
  screenshot,
  studioTests,
} from "./fixture.ts";

const studioTest = studioTests();

for (const scheme of ["light", "dark"] as const) {
  studioTest(
    `on a phone's width, ${scheme}: nothing is cut off or overlaps`,
    { engine: { stepMs: 40 } },
    async (server, browser) => {
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
