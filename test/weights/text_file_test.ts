import assert from "node:assert/strict";
import { textFile } from "../../src/weights/deno_text_file.ts";

Deno.test("textFile() makes its folder, replaces the text whole and leaves nothing else", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const file = textFile(`${folder}/deep/er/tuning.json`);
    assert.equal(await file.load(), undefined);
    await file.save("one, a long text");
    await file.save("two");
    assert.equal(await file.load(), "two");
    const names = [...Deno.readDirSync(`${folder}/deep/er`)].map(({ name }) => name);
    assert.deepEqual(names, ["tuning.json"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("textFile() says what is wrong with its place, and leaves no half of a file", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${folder}/taken`);
    await assert.rejects(textFile(`${folder}/taken`).save("text"));
    await assert.rejects(textFile(`${folder}/taken`).load());
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["taken"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
