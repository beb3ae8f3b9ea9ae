import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { testFiles } from "./test_files.ts";

Deno.test("testFiles() finds tests at any depth, and matrices where they are wanted", async () => {
  const folder = await Deno.makeTempDir({ prefix: "ü #%23 " });
  try {
    await Deno.mkdir(`${folder}/deep/er`, { recursive: true });
    for (const name of ["a_test.ts", "b.ts", "deep/er/c_test.ts", "deep/d_matrix_test.ts"]) {
      await Deno.writeTextFile(`${folder}/${name}`, "");
    }
    const found = (matrices: boolean) =>
      testFiles({ matrices, folder: pathToFileURL(`${folder}/`) })
        .map((file) => file.slice(folder.length + 1)).sort();
    assert.deepEqual(found(false), ["a_test.ts", "deep/er/c_test.ts"]);
    assert.deepEqual(found(true), ["a_test.ts", "deep/d_matrix_test.ts", "deep/er/c_test.ts"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
