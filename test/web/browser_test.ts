/**
 * "In your browser": the core in a Web Worker of headless Chromium, on SwiftShader, with the
 * embedded model. Compiling for SwiftShader takes tens of seconds, so one page serves most steps.
 */
import assert from "node:assert/strict";
import type { Browser, Page } from "playwright-core";
import { decodePng } from "../../src/image/png.ts";
import type { RgbImage } from "../../src/image/rgb_image.ts";
import { parseConfig } from "../../src/http/config.ts";
import { startEngine } from "../../src/http/engine.ts";
import {
  allFinish,
  assertNoErrors,
  galleryHolds,
  generate,
  launch,
  open,
  type OpenPage,
  screenshot,
  serve,
  type TestServer,
  withFolder,
} from "./fixture.ts";

const modelFolder = "fixtures/sd35-tiny";
/** Fields of the request that both places answer, by their ids in the form. */
const fields = {
  prompt: "a red circle on a blue background",
  num_inference_steps: "8",
  guidance_scale: "4",
  seed: "1",
};
const compileMs = 300_000;

function browserTest(name: string, test: (browser: Browser, folder: string) => Promise<void>) {
  Deno.test({
    name,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: () =>
      withFolder(async (folder) => {
        const browser = await launch();
        try {
          await test(browser, folder);
        } finally {
          await browser.close();
        }
      }),
  });
}

/** Opens the page at "In your browser" and counts what it asks of the model. */
async function openPlace(
  browser: Browser,
  server: TestServer,
): Promise<OpenPage & { readonly fetched: string[] }> {
  const opened = await open(browser, `${server.url}#browser`, { wait: false });
  const fetched: string[] = [];
  opened.page.on("request", (request) => {
    const { pathname } = new URL(request.url());
    if (pathname.startsWith("/model/") && pathname !== "/model/index.json") fetched.push(pathname);
  });
  await opened.page.getByRole("button", { name: "Choose a folder" }).waitFor();
  return { ...opened, fetched };
}

async function loaded(page: Page): Promise<void> {
  await page.getByText("is loaded.").waitFor({ timeout: 60_000 });
}

browserTest(
  "the server's model in the browser: fetched once, the same image, progress, cancel, errors",
  async (browser, folder) => {
    const server = await serve({ imageDir: `${folder}/images` });
    const { page, errors, fetched, origins } = await openPlace(browser, server);
    page.setDefaultTimeout(compileMs);
    await screenshot(page, "browser-idle");

    // The first request loads the model by itself.
    await generate(page, fields);
    await page.locator("#model-panel progress").waitFor();
    await screenshot(page, "browser-loading");
    await loaded(page);
    assert.ok(fetched.length > 20, `${fetched.length} requests for the model's files`);
    await page.waitForSelector("#jobs img");
    assert.match(await page.locator("#jobs .said").innerText(), /^(Step \d of 8|Decoding)/);
    await screenshot(page, "browser-running");
    await allFinish(page, 1);
    await screenshot(page, "browser-done");
    assert.match(await page.innerText("#status"), /sd35-tiny/);

    const drawn = decodePng(await savedImage(page));
    const expected = await serverImage();
    const { seed, prompt } = JSON.parse(drawn.text.parameters ?? "{}");
    assert.deepEqual({ seed, prompt }, { seed: 1, prompt: fields.prompt });
    const ratio = psnr(drawn, expected);
    assert.ok(ratio >= 45, `PSNR of the browser's image to the server's: ${ratio} dB`);

    // Two at once; one is cancelled, and the engine is free of both afterwards.
    await generate(page, { ...fields, prompt: "a cat", num_inference_steps: "100" });
    await generate(page, { ...fields, prompt: "a dog", num_inference_steps: "4" });
    const cancelled = page.getByRole("button", { name: "Cancel: a cat" });
    await page.waitForFunction(() => document.querySelectorAll("#jobs img").length === 2);
    await page.waitForFunction(() =>
      document.querySelector("#status")?.textContent?.includes("2 active")
    );
    await cancelled.click();
    await allFinish(page, 2);
    assert.equal(await page.locator("#gallery .prompt").first().innerText(), "a dog");
    await page.waitForFunction(() =>
      document.querySelector("#status")?.textContent?.includes("0 active")
    );

    // Refusals of the core are shown at the field, as the server's are.
    await generate(page, { ...fields, width: "100" });
    await page.waitForSelector("#width-error:not([hidden])");
    assert.match(await page.innerText("#width-error"), /16/);
    assert.equal(await page.evaluate(() => document.activeElement?.id), "width");

    await page.getByRole("button", { name: "Unload" }).click();
    await page.getByRole("button", { name: "Load sd35-tiny" }).waitFor();
    fetched.length = 0;
    await page.getByRole("button", { name: "Load sd35-tiny" }).click();
    await loaded(page);
    assert.deepEqual(fetched, [], "the second load reads the kept copy");
    assert.deepEqual([...origins], [new URL(server.url).origin]);
    assertNoErrors(errors);
    await server.kill();
  },
);

browserTest(
  "an interrupted fetch goes on where it stopped; deleted copies are fetched again",
  async (browser, folder) => {
    const server = await serve({ imageDir: `${folder}/images` });
    const { page, errors, fetched } = await openPlace(browser, server);
    const load = page.getByRole("button", { name: "Load sd35-tiny" });
    // The third piece of the transformer does not come: the connection is stuck.
    let pieces = 0;
    await page.context().route("**/model/transformer/*.safetensors", async (route) => {
      pieces += 1;
      if (pieces < 3) await route.continue();
    });
    await load.click();
    await page.waitForFunction(() => document.querySelector("#model-panel progress"));
    const deadline = performance.now() + 30_000;
    while (pieces < 3 && performance.now() < deadline) await page.waitForTimeout(50);
    assert.equal(pieces, 3);
    await page.getByRole("button", { name: "Stop" }).click();
    await load.waitFor();
    await page.context().unrouteAll({ behavior: "ignoreErrors" });
    fetched.length = 0;
    const ranges: string[] = [];
    page.on("request", (request) => {
      if (request.url().endsWith(".safetensors")) ranges.push(request.headers().range ?? "");
    });
    await load.click();
    await loaded(page);
    assert.equal(ranges[0], `bytes=${8 * 2 ** 20}-${12 * 2 ** 20 - 1}`);
    assert.equal(fetched.some((path) => path.includes("text_encoder/")), false);

    await page.getByRole("button", { name: "Unload" }).click();
    await page.getByRole("button", { name: "Delete kept copies" }).click();
    await page.getByText("Kept copies deleted").waitFor();
    fetched.length = 0;
    await load.click();
    await loaded(page);
    assert.ok(fetched.length > 20, "everything is fetched again");
    assertNoErrors(errors);
    await server.kill();
  },
);

browserTest(
  "a model from disk: picked, dropped, or refused with the reason",
  async (browser, folder) => {
    const server = await serve({
      imageDir: `${folder}/images`,
      config: { browserModel: `${folder}/none` },
    });
    const { page, errors, fetched } = await openPlace(browser, server);
    assert.equal(await page.getByRole("button", { name: /^Load/ }).count(), 0);
    await page.setInputFiles("#model-folder", modelFolder);
    await loaded(page);
    assert.match(await page.innerText("#model-panel"), /sd35-tiny is loaded/);
    await page.getByRole("button", { name: "Unload" }).click();
    await page.getByRole("button", { name: "Choose a folder" }).waitFor();

    await drop(page, await Deno.realPath(modelFolder));
    await loaded(page);
    await page.getByRole("button", { name: "Unload" }).click();
    await page.getByRole("button", { name: "Choose a folder" }).waitFor();

    const broken = `${folder}/broken-model`;
    await copyFolder(modelFolder, broken);
    const weights = `${broken}/vae/diffusion_pytorch_model.safetensors`;
    await Deno.truncate(weights, (await Deno.stat(weights)).size - 1000);
    await page.setInputFiles("#model-folder", broken);
    const error = page.locator("#model-panel .error");
    await error.waitFor();
    assert.match(await error.innerText(), /broken-model cannot be used: [^]*vae[^]*cut short/);
    await screenshot(page, "browser-broken-model");
    assert.deepEqual(fetched, []);
    assertNoErrors(errors, /status of 404/);
    await server.kill();
  },
);

Deno.test({
  name: "without WebGPU the page says so, and the server's half works on",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () =>
    withFolder(async (folder) => {
      const browser = await launch({ webgpu: false });
      const server = await serve({ imageDir: `${folder}/images` });
      try {
        const { page } = await open(browser, `${server.url}#browser`, { wait: false });
        const error = page.locator("#model-panel .error");
        await error.waitFor();
        assert.match(await error.innerText(), /WebGPU/);
        await screenshot(page, "browser-no-webgpu");
        await generate(page, { prompt: "anything" });
        await page.locator('#jobs > li[data-state="failed"]').waitFor();
        await page.locator("input[value=server]").check();
        await page.waitForSelector('#status .state[data-state="ready"]');
        await generate(page, { prompt: "on the server" });
        await galleryHolds(page, 1);
      } finally {
        await browser.close();
        await server.kill();
      }
    }),
});

/** The same request on the server's engine, in its worker. */
async function serverImage(): Promise<RgbImage> {
  const engine = await startEngine(
    parseConfig(["--model", modelFolder, "--no-tune"], () => undefined),
    () => {},
  );
  try {
    const { images } = await engine.generate({
      prompt: fields.prompt,
      numInferenceSteps: Number(fields.num_inference_steps),
      guidanceScale: Number(fields.guidance_scale),
      seed: Number(fields.seed),
    });
    return images[0]!;
  } finally {
    await engine.close();
  }
}

/** The PNG that the gallery's newest image is saved as. */
async function savedImage(page: Page): Promise<Uint8Array> {
  const downloading = page.waitForEvent("download");
  await page.locator("#gallery").getByRole("button", { name: "Download" }).first().click();
  return await Deno.readFile(await (await downloading).path());
}

/** Peak signal-to-noise ratio in dB; infinite for equal images. */
function psnr(a: RgbImage, b: RgbImage): number {
  assert.deepEqual([a.width, a.height], [b.width, b.height]);
  let sum = 0;
  for (const [k, value] of a.data.entries()) sum += (value - b.data[k]!) ** 2;
  return 10 * Math.log10(255 ** 2 / (sum / a.data.length));
}

/** Drops a folder of this machine on the page, as the browser itself would pass it on. */
async function drop(page: Page, path: string): Promise<void> {
  const session = await page.context().newCDPSession(page);
  const data = { items: [], files: [path], dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "drop"] as const) {
    await session.send("Input.dispatchDragEvent", { type, x: 200, y: 150, data });
  }
  await session.detach();
}

async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copyFolder(`${from}/${name}`, `${to}/${name}`);
    else await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}
