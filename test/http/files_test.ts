import assert from "node:assert/strict";
import { withApp } from "./fixture.ts";

async function put(path: string, content: string | Uint8Array): Promise<void> {
  await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
  if (typeof content === "string") await Deno.writeTextFile(path, content);
  else await Deno.writeFile(path, content);
}

Deno.test("images come with caching headers, and 304 to a client that has them", async () => {
  await withApp({ config: { imageTtl: 600 } }, async ({ images, request }) => {
    const name = await images.save(new Uint8Array([1, 2, 3]));
    const response = await request(`/images/${name}`);
    assert.equal(response.status, 200);
    assert.deepEqual(await response.bytes(), new Uint8Array([1, 2, 3]));
    assert.equal(response.headers.get("Content-Type"), "image/png");
    assert.equal(response.headers.get("Content-Length"), "3");
    assert.equal(response.headers.get("Cache-Control"), "private, max-age=600, immutable");
    assert.equal(response.headers.get("X-Content-Type-Options"), "nosniff");
    assert.equal(response.headers.get("Cross-Origin-Resource-Policy"), null);
    const etag = response.headers.get("ETag")!;
    for (const header of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) {
      const again = await request(`/images/${name}`, { headers: { "If-None-Match": header } });
      assert.equal(again.status, 304, header);
      assert.equal(again.headers.get("ETag"), etag);
      assert.equal(await again.text(), "");
    }
    const other = await request(`/images/${name}`, { headers: { "If-None-Match": '"other"' } });
    assert.equal(other.status, 200);
    await other.body?.cancel();
    const head = await request(`/images/${name}`, { method: "HEAD" });
    assert.equal(head.headers.get("Content-Length"), "3");
    assert.equal(await head.text(), "");
  });
});

Deno.test("no path leads out of the image folder, the page's or the model's", async () => {
  await withApp({}, async ({ folder, images, request }) => {
    await put(`${folder}/secret.png`, "secret");
    await put(`${folder}/images/other.txt`, "secret");
    await put(`${folder}/web/index.html`, "page");
    await put(`${folder}/web/.hidden`, "secret");
    await put(`${folder}/model/model_index.json`, "{}");
    await put(`${folder}/model/.git/config`, "secret");
    await images.save(new Uint8Array(3));
    const ways = [
      "../secret.png",
      "..%2fsecret.png",
      "%2e%2e/secret.png",
      "%2e%2e%2fsecret.png",
      "..\\secret.png",
      "..%5csecret.png",
      "....//secret.png",
      "%252e%252e%252fsecret.png",
      "..%00/secret.png",
      "secret.png%00.png",
      `${folder}/secret.png`,
      encodeURIComponent(`${folder}/secret.png`),
      "other.txt",
      ".hidden",
      ".git/config",
      ".git%2fconfig",
      "%",
      "%ff",
      "index.html/x",
      "a".repeat(5000),
    ];
    for (const start of ["/images/", "/model/", "/"]) {
      for (const way of ways) {
        // A URL object would walk the dots itself; this one goes as it stands.
        const response = await request(`${start}${way}`);
        const text = await response.text();
        assert.equal(response.status, 404, `${start}${way}: ${text}`);
        assert.ok(!text.includes("secret"), start + way);
      }
    }
  });
});

Deno.test("an image that is gone from the folder is 404", async () => {
  await withApp({}, async ({ images, request }) => {
    const name = await images.save(new Uint8Array(3));
    await Deno.remove(images.find(name)!);
    assert.equal((await request(`/images/${name}`)).status, 404);
  });
});

Deno.test("GET / is JSON for programs and the page for browsers", async () => {
  await withApp({}, async ({ folder, request }) => {
    await put(`${folder}/web/index.html`, "<!doctype html><title>Studio</title>");
    await put(`${folder}/web/assets/main-1a2b.js`, "export {};");
    for (const headers of [{}, { Accept: "*/*" }, { Accept: "application/json" }]) {
      const response = await request("/", { headers: headers as Record<string, string> });
      assert.deepEqual(await response.json(), { message: "Welcome to the Diffusers Server" });
    }
    const accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    const page = await request("/", { headers: { Accept: accept } });
    assert.equal(page.headers.get("Content-Type"), "text/html; charset=utf-8");
    assert.match(await page.text(), /Studio/);
    assert.match(page.headers.get("Vary")!, /Accept/);
    const policy = page.headers.get("Content-Security-Policy")!;
    assert.match(policy, /default-src 'none'/);
    assert.doesNotMatch(policy, /unsafe|\*/);
    const script = await request("/assets/main-1a2b.js");
    assert.equal(script.headers.get("Content-Type"), "text/javascript; charset=utf-8");
    assert.equal(await script.text(), "export {};");
    const folderItself = await request("/assets");
    assert.equal(folderItself.status, 404);
  });
});

Deno.test("GET / leads a browser to the API's page when there is no other", async () => {
  await withApp({}, async ({ request }) => {
    const response = await request("/", { headers: { Accept: "text/html" } });
    assert.equal(response.status, 302);
    assert.equal(response.headers.get("Location"), "/docs");
  });
});

Deno.test("model files are listed and served in byte ranges", async () => {
  await withApp({}, async ({ folder, request }) => {
    const weights = Uint8Array.from({ length: 200_000 }, (_, k) => k % 251);
    await put(`${folder}/model/transformer/model.safetensors`, weights);
    await put(`${folder}/model/tokenizer/a file.json`, "{}");
    const { name, files } = await (await request("/model/index.json")).json();
    assert.equal(name, "model");
    const etags = new Map<string, string>();
    for (const { path, etag } of files) etags.set(path, etag);
    assert.deepEqual(files, [
      { path: "tokenizer/a file.json", size: 2, etag: etags.get("tokenizer/a file.json") },
      {
        path: "transformer/model.safetensors",
        size: 200_000,
        etag: etags.get("transformer/model.safetensors"),
      },
    ]);
    assert.equal(await (await request("/model/tokenizer/a%20file.json")).text(), "{}");
    const path = "/model/transformer/model.safetensors";
    const whole = await request(path);
    assert.equal(whole.headers.get("Accept-Ranges"), "bytes");
    assert.deepEqual(await whole.bytes(), weights);
    const etag = whole.headers.get("ETag")!;
    assert.equal(etag, etags.get("transformer/model.safetensors"));
    const ranges: [string, number, number][] = [
      ["bytes=0-0", 0, 1],
      ["bytes=10-19", 10, 20],
      ["bytes=199990-", 199_990, 200_000],
      ["bytes=-7", 199_993, 200_000],
      ["bytes=-999999", 0, 200_000],
      ["bytes=1000-150999", 1000, 151_000],
      ["bytes=199999-300000", 199_999, 200_000],
    ];
    for (const [range, start, end] of ranges) {
      const part = await request(path, { headers: { Range: range } });
      assert.equal(part.status, 206, range);
      assert.equal(part.headers.get("Content-Range"), `bytes ${start}-${end - 1}/200000`);
      assert.equal(part.headers.get("Content-Length"), String(end - start));
      assert.deepEqual(await part.bytes(), weights.slice(start, end));
    }
    for (const range of ["bytes=200000-", "bytes=-0", "bytes=900000-900001"]) {
      const outside = await request(path, { headers: { Range: range } });
      assert.equal(outside.status, 416, range);
      assert.equal(outside.headers.get("Content-Range"), "bytes */200000");
      await outside.text();
    }
    // What is no range, or one of another version of the file, means the whole.
    const others: Record<string, string>[] = [
      { Range: "bytes=5-2" },
      { Range: "lines=1-2" },
      { Range: "bytes=0-1,5-6" },
      { Range: "bytes=0-1", "If-Range": '"old"' },
    ];
    for (const headers of others) {
      const response = await request(path, { headers });
      assert.equal(response.status, 200, JSON.stringify(headers));
      await response.body?.cancel();
    }
    const same = await request(path, { headers: { Range: "bytes=0-1", "If-Range": etag } });
    assert.equal(same.status, 206);
    await same.bytes();
    const unchanged = await request(path, { headers: { "If-None-Match": etag } });
    assert.equal(unchanged.status, 304);
  });
});

Deno.test("a range whose reader goes away closes the file", async () => {
  await withApp({}, async ({ folder, request }) => {
    await put(`${folder}/model/large.bin`, new Uint8Array(1_000_000));
    const response = await request("/model/large.bin", { headers: { Range: "bytes=10-900000" } });
    const reader = response.body!.getReader();
    await reader.read();
    await reader.cancel();
    // The test runner reports a file that stays open.
  });
});

Deno.test("no model is served where there is none", async () => {
  await withApp({}, async ({ request }) => {
    assert.equal((await request("/model/index.json")).status, 404);
  });
  await withApp({ config: { browserModel: undefined } }, async ({ request }) => {
    assert.equal((await request("/model/index.json")).status, 404);
  });
});
