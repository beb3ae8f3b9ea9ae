/** The page's worker with the kernels made for GPUs, on SwiftShader, which Chromium falls back to. */
import assert from "node:assert/strict";
import { openEngine } from "../../src/engine/engine.ts";
import { directorySource } from "../../src/weights/deno_source.ts";
import { prepareAdapter } from "../../adapter.ts";
import { psnr, tolerance } from "../tolerance.ts";
import { launch, open, serve, withFolder } from "./fixture.ts";

const request = { prompt: "a red circle", height: 64, width: 64, numInferenceSteps: 4, seed: 1 };

Deno.test({
  name: "the browser's image with the kernels for GPUs is Deno's with those for software adapters",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () =>
    withFolder(async (folder) => {
      const browser = await launch();
      const server = await serve({ imageDir: `${folder}/images` });
      try {
        const { page } = await open(browser, server.url);
        const { kernels, pixels } = await page.evaluate(drawInWorker, request);
        assert.equal(kernels, "gpu");
        const found = psnr(Uint8Array.fromBase64(pixels), await expected());
        assert.ok(found >= tolerance.imagePsnr, `${found.toFixed(1)} dB`);
      } finally {
        await browser.close();
        await server.kill();
      }
    }),
});

async function expected(): Promise<Uint8Array> {
  prepareAdapter();
  const source = directorySource("fixtures/sd35-tiny");
  const engine = await openEngine(source, { kernels: "software" });
  const { images } = await engine.generate(request);
  await engine.close();
  await source.close();
  return images[0]!.data;
}

/** Runs in the page: opens the server's model as the page does, but for `kernels`. */
async function drawInWorker(asked: object): Promise<{ kernels: string; pixels: string }> {
  const listing = await (await fetch("/model/index.json")).json();
  const worker = new Worker("/engine_worker.js", { type: "module" });
  const answer = <T>(type: string) =>
    new Promise<T>((resolve, reject) =>
      worker.addEventListener("message", ({ data }) => {
        if (data.type === type) resolve(data);
        if (/failed/i.test(data.type)) reject(new Error(data.error.message));
      })
    );
  const options = { from: "server", url: "/model/", listing, kernels: "gpu" };
  worker.postMessage({ type: "open", options });
  const { status } = await answer<{ status: { kernels: string } }>("opened");
  worker.postMessage({ type: "generate", id: 1, request: asked, previewEvery: 0 });
  const { result } = await answer<{ result: { images: { data: Uint8Array }[] } }>("done");
  return { kernels: status.kernels, pixels: result.images[0]!.data.toBase64() };
}
