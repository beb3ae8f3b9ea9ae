import assert from "node:assert/strict";
import { blobSource } from "../../src/weights/blob_source.ts";
import { directorySource } from "../../src/weights/deno_source.ts";
import { fetchSource } from "../../src/weights/fetch_source.ts";
import { type FileSource, isInnerPath } from "../../src/weights/source.ts";
import { FileNotFoundError, FileReadError } from "../../src/weights/errors.ts";

const content = Uint8Array.from({ length: 5000 }, (_, i) => (i * 7) & 255);

/** What every source does with `a.bin` (5000 bytes) and `sub/b c.txt`. */
async function behaves(source: FileSource) {
  assert.deepEqual(await source.list(), ["a.bin", "sub/b c.txt"]);
  assert.equal(await source.size("a.bin"), 5000);
  assert.equal(await source.text("sub/b c.txt"), "héllo");
  assert.deepEqual(await source.read("a.bin", 0, 5000), content);
  // Overlapping reads at once must not disturb each other.
  const starts = Array.from({ length: 40 }, (_, i) => (i * 1237) % 4900);
  const parts = await Promise.all(starts.map((start) => source.read("a.bin", start, start + 100)));
  for (const [i, start] of starts.entries()) {
    assert.deepEqual(parts[i], content.slice(start, start + 100));
  }
  assert.equal((await source.read("a.bin", 10, 10)).length, 0);
  await assert.rejects(source.read("a.bin", 4990, 5001), FileReadError);
  assert.deepEqual([await source.has("a.bin"), await source.has("sub")], [true, false]);
  for (const path of ["none", "../a.bin", "/etc/passwd", "sub/../a.bin"]) {
    assert.equal(await source.has(path).catch(() => false), false);
    await assert.rejects(source.size(path), FileNotFoundError, path);
    await assert.rejects(source.read(path, 0, 1), FileNotFoundError, path);
    await assert.rejects(source.text(path), FileNotFoundError, path);
  }
}

Deno.test("blobs", () =>
  behaves(
    blobSource(
      "b",
      new Map([["a.bin", new Blob([content])], ["sub/b c.txt", new Blob(["héllo"])]]),
    ),
  ));

Deno.test("a directory, with linked files and a linked loop", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${folder}/model/sub`, { recursive: true });
    await Deno.writeFile(`${folder}/blob`, content);
    await Deno.symlink("../blob", `${folder}/model/a.bin`);
    await Deno.symlink("..", `${folder}/model/sub/loop`);
    await Deno.symlink("nowhere", `${folder}/model/dead`);
    await Deno.writeTextFile(`${folder}/model/sub/b c.txt`, "héllo");
    await Deno.writeTextFile(`${folder}/model/.hidden`, "");
    const source = directorySource(`${folder}/model/`);
    await behaves(source);
    source.close();
    assert.equal((await source.read("a.bin", 0, 8)).length, 8);
    source.close();
    await assert.rejects(directorySource(`${folder}/none`).list(), FileNotFoundError);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

function serve(handler: (request: Request, path: string) => Response) {
  const server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen: () => {} },
    (request) => handler(request, decodeURIComponent(new URL(request.url).pathname)),
  );
  return { url: `http://127.0.0.1:${server.addr.port}/m`, stop: () => server.shutdown() };
}

function ranged(request: Request, bytes: Uint8Array<ArrayBuffer>): Response {
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.get("range") ?? "");
  if (!range) return new Response(bytes);
  const start = Number(range[1]);
  const end = Math.min(Number(range[2]) + 1, bytes.length);
  return new Response(bytes.slice(start, end), {
    status: 206,
    headers: { "content-range": `bytes ${start}-${end - 1}/${bytes.length}` },
  });
}

Deno.test("a server", async () => {
  const files: Record<string, Uint8Array<ArrayBuffer>> = {
    "/m/a.bin": content,
    "/m/sub/b c.txt": new TextEncoder().encode("héllo"),
  };
  const { url, stop } = serve((request, path) => {
    const bytes = files[path];
    return bytes ? ranged(request, bytes) : new Response("no", { status: 404 });
  });
  try {
    await behaves(fetchSource(url, ["sub/b c.txt", "a.bin"]));
    await assert.rejects(fetchSource(url, ["gone"]).size("gone"), FileNotFoundError);
  } finally {
    await stop();
  }
});

Deno.test("a server that ignores ranges, fails, or answers with other bytes is an error", async () => {
  const answers: Record<string, (request: Request) => Response> = {
    whole: () => new Response(content),
    fails: () => new Response("no", { status: 500 }),
    unsaid: () => new Response(content.slice(0, 4), { status: 206 }),
    other: (request) => {
      const response = ranged(request, content);
      response.headers.set("content-range", "bytes 100-103/5000");
      return response;
    },
  };
  const { url, stop } = serve((request, path) => answers[path.slice(3)]!(request));
  try {
    const source = fetchSource(url, Object.keys(answers));
    await assert.rejects(source.read("whole", 0, 4), /ignores byte ranges/);
    await assert.rejects(source.read("fails", 0, 4), /answered 500/);
    await assert.rejects(source.read("unsaid", 0, 4), /Content-Range/);
    await assert.rejects(source.read("other", 0, 4), FileReadError);
  } finally {
    await stop();
  }
  await assert.rejects(fetchSource(url, ["a"]).read("a", 0, 4), /the request failed/);
});

Deno.test("paths that stay inside", () => {
  for (const path of ["a", "a/b.c", "a..b", "..a"]) assert.ok(isInnerPath(path), path);
  for (const path of ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\\b", "C:a", "a\0"]) {
    assert.ok(!isInnerPath(path), path);
  }
});
