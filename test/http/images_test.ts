import assert from "node:assert/strict";
import { ImageStore } from "../../src/http/images.ts";

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "images_test_" });
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function names(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

const png = (size: number) => new Uint8Array(size).fill(7);

Deno.test("ImageStore.save() writes whole files under names that differ and say nothing", async () => {
  await withFolder(async (folder) => {
    const store = await ImageStore.open(folder, { ttlSeconds: 60, maxBytes: 0 });
    const saved = await Promise.all(Array.from({ length: 20 }, () => store.save(png(10))));
    assert.equal(new Set(saved).size, 20);
    for (const name of saved) {
      assert.match(name, /^img[0-9a-f]{32}\.png$/);
      assert.deepEqual(await Deno.readFile(store.find(name)!), png(10));
    }
    assert.deepEqual(names(folder), saved.sort(), "no temporary file remains");
    assert.deepEqual(store.usage(), { count: 20, bytes: 200 });
  });
});

Deno.test("ImageStore.find() knows only its own images", async () => {
  await withFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/private.png`, "x");
    const store = await ImageStore.open(folder, { ttlSeconds: 60, maxBytes: 0 });
    for (const name of ["private.png", "../private.png", "", ".", "..", "img.png", "__proto__"]) {
      assert.equal(store.find(name), undefined, name);
    }
  });
});

Deno.test("ImageStore.sweep() removes images that are too old, which are gone before that", async () => {
  await withFolder(async (folder) => {
    let now = Date.now();
    const store = await ImageStore.open(folder, { ttlSeconds: 10, maxBytes: 0, now: () => now });
    const old = await store.save(png(10));
    now += 6000;
    const young = await store.save(png(10));
    now += 5000;
    assert.equal(store.find(old), undefined, "an expired image is not found, swept or not");
    assert.equal(await store.sweep(), 1);
    assert.deepEqual(names(folder), [young]);
    assert.ok(store.find(young));
  });
});

Deno.test("ImageStore with ttl 0 keeps images for ever", async () => {
  await withFolder(async (folder) => {
    let now = Date.now();
    const store = await ImageStore.open(folder, { ttlSeconds: 0, maxBytes: 0, now: () => now });
    const name = await store.save(png(10));
    now += 1e12;
    assert.equal(await store.sweep(), 0);
    assert.ok(store.find(name));
  });
});

Deno.test("ImageStore.save() removes the oldest when all are too large, never the last", async () => {
  await withFolder(async (folder) => {
    let now = Date.now();
    const store = await ImageStore.open(folder, { ttlSeconds: 0, maxBytes: 25, now: () => now });
    const saved: string[] = [];
    for (let k = 0; k < 4; k++) {
      saved.push(await store.save(png(10)));
      now += 1000;
    }
    assert.deepEqual(names(folder), saved.slice(2).sort());
    const huge = await store.save(png(100));
    assert.deepEqual(names(folder), [huge], "an image larger than the bound is still delivered");
    assert.deepEqual(store.usage(), { count: 1, bytes: 100 });
  });
});

Deno.test("ImageStore.open() takes over images, removes half-written ones, leaves others", async () => {
  await withFolder(async (folder) => {
    const first = await ImageStore.open(folder, { ttlSeconds: 60, maxBytes: 0 });
    const name = await first.save(png(10));
    await Deno.writeTextFile(`${folder}/.${name}.tmp`, "half");
    await Deno.writeTextFile(`${folder}/.keep.tmp`, "somebody's");
    await Deno.writeTextFile(`${folder}/notes.txt`, "somebody's");
    const second = await ImageStore.open(folder, { ttlSeconds: 60, maxBytes: 0 });
    assert.ok(second.find(name));
    assert.deepEqual(names(folder), [".keep.tmp", name, "notes.txt"]);
    assert.deepEqual(second.usage(), { count: 1, bytes: 10 });
  });
});

Deno.test("ImageStore.open() sweeps images that grew old while nobody ran", async () => {
  await withFolder(async (folder) => {
    const first = await ImageStore.open(folder, { ttlSeconds: 60, maxBytes: 0 });
    const name = await first.save(png(10));
    const longAgo = new Date(Date.now() - 3_600_000);
    await Deno.utime(`${folder}/${name}`, longAgo, longAgo);
    await ImageStore.open(folder, { ttlSeconds: 60, maxBytes: 0 });
    assert.deepEqual(names(folder), []);
  });
});

Deno.test("ImageStore.save() leaves nothing behind when the folder is gone", async () => {
  await withFolder(async (folder) => {
    const inner = `${folder}/inner`;
    const store = await ImageStore.open(inner, { ttlSeconds: 60, maxBytes: 0 });
    await Deno.remove(inner, { recursive: true });
    await assert.rejects(store.save(png(10)), Deno.errors.NotFound);
    assert.deepEqual(store.usage(), { count: 0, bytes: 0 });
  });
});

Deno.test("ImageStore.open() fails where it cannot write", async () => {
  await withFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/file`, "x");
    await assert.rejects(ImageStore.open(`${folder}/file`, { ttlSeconds: 1, maxBytes: 0 }));
  });
});
