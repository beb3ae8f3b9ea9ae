import { fileURLToPath } from "node:url";

export interface TestFileOptions {
  /** Whether `*_matrix_test.ts` belong to them, too. */
  readonly matrices: boolean;
  /** Default: this one. */
  readonly folder?: URL;
}

/** Paths of all test files of a folder and of those in it. */
export function testFiles(
  { matrices, folder = new URL("./", import.meta.url) }: TestFileOptions,
): string[] {
  return Deno.readDirSync(folder).flatMap(({ name, isDirectory }) => {
    if (isDirectory) return testFiles({ matrices, folder: new URL(`${name}/`, folder) });
    const wanted = name.endsWith("_test.ts") && (matrices || !name.endsWith("_matrix_test.ts"));
    return wanted ? [fileURLToPath(new URL(name, folder))] : [];
  }).toArray();
}
