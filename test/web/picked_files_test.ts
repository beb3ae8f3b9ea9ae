/** What a visitor drops is told by its kind, in the words that the command line has. */
import assert from "node:assert/strict";
import { describeModel } from "../../src/models/mod.ts";
import { blobSource } from "../../src/weights/blob_source.ts";
import { fromDrop } from "../../src/web/picked_files.ts";

type Dropped = { readonly [name: string]: string | Dropped };

/** As browsers show what was dropped. */
function entriesOf(dropped: Dropped, parent = ""): FileSystemEntry[] {
  return Object.entries(dropped).map(([name, content]) => {
    const fullPath = `${parent}/${name}`;
    if (typeof content === "string") {
      const file = (resolve: (file: File) => void) => resolve(new File([content], name));
      return { isFile: true, name, fullPath, file } as unknown as FileSystemEntry;
    }
    const inner = [entriesOf(content, fullPath), []];
    const readEntries = (resolve: (list: FileSystemEntry[]) => void) => resolve(inner.shift()!);
    const createReader = () => ({ readEntries });
    return { isFile: false, name, fullPath, createReader } as unknown as FileSystemEntry;
  });
}

async function drop(dropped: Dropped) {
  const items = entriesOf(dropped).map((entry) => ({ webkitGetAsEntry: () => entry }));
  return await fromDrop({ items } as unknown as DataTransfer);
}

async function refusal(dropped: Dropped): Promise<string> {
  const picked = await drop(dropped);
  assert.ok(picked);
  const described = describeModel(blobSource(picked.name, picked.files));
  return await described.then(() => assert.fail("it was accepted"), (error) => error.message);
}

Deno.test("dropped: one file, a folder of one, several files", async () => {
  assert.match(await refusal({ "sd3.safetensors": "GGUF" }), /^sd3\.safetensors is a GGUF file/);
  const folder = { models: { "sd3.gguf": "GGUF", "README.md": "#" } };
  assert.match(await refusal(folder), /^models\/sd3\.gguf is a GGUF file/);
  const several = { "notes.txt": "a", "sd3.ckpt": "PK\x03\x04" };
  assert.match(await refusal(several), /^Dropped files\/sd3\.ckpt is a pickle/);
  assert.match(await refusal({ "model_index.json": "{}" }), /one file of a model/);
});

Deno.test("dropped: an empty folder, a component's, a folder around models; and nothing", async () => {
  assert.match(await refusal({ sd3: {} }), /^sd3 is an empty folder/);
  const component = { vae: { "config.json": '{"_class_name": "AutoencoderKL"}' } };
  assert.match(await refusal(component), /^vae is one component of a model \(AutoencoderKL\)/);
  const around = { models: { sd3: { "model_index.json": "{}" } } };
  assert.match(await refusal(around), /^models holds no model_index\.json.*\(sd3\)/);
  assert.equal(await drop({}), undefined);
});
