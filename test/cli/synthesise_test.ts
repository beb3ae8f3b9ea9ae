/** `deno task synthesise` writes a model that loads, on next to no disk. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { describeModel } from "../../src/models/mod.ts";
import { declareModel } from "../../src/backends/load.ts";
import { directorySource } from "../../src/weights/deno_source.ts";

const cli = fileURLToPath(new URL("../../cli.ts", import.meta.url));

async function synthesise(...args: string[]) {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", cli, "synthesise", ...args],
    stdout: "null",
  }).output();
  return { code, stderr: new TextDecoder().decode(stderr) };
}

Deno.test("a synthesised model is a full-size model with holes for weights", async () => {
  const folder = await Deno.makeTempDir({ prefix: "synthesise-" });
  const source = directorySource(folder);
  try {
    assert.equal((await synthesise("stable-diffusion-3.5-large", "--output", folder)).code, 0);
    const model = await describeModel(source);
    await declareModel(model);
    let size = 0;
    let disk = 0;
    for (const path of await source.list()) {
      const info = await Deno.stat(`${folder}/${path}`);
      size += info.size;
      disk += 512 * (info.blocks ?? 0);
    }
    assert.ok(size > 27e9, `${size} bytes`);
    assert.ok(disk < 20e6, `${disk} bytes on disk`);
  } finally {
    source.close();
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("synthesise names the models there are", async () => {
  const { code, stderr } = await synthesise("stable-diffusion-4", "--output", "/nowhere");
  assert.notEqual(code, 0);
  assert.match(stderr, /stable-diffusion-3\.5-large-turbo/);
});
