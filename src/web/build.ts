/**
 * `deno task web`: bundles the page into `dist/web` (or the folder named as the first argument).
 * Names are fixed: the server sends entity tags, so nothing stale is used.
 */
import { build, type Plugin } from "esbuild";

const here = new URL("./", import.meta.url);

/** Resolves bare names by the project's import map, which esbuild does not read. */
const importMap: Plugin = {
  name: "import-map",
  setup(context) {
    context.onResolve({ filter: /^[^./]/ }, ({ path, kind }) => {
      if (kind === "entry-point") return undefined;
      const url = import.meta.resolve(path);
      if (!url.startsWith("file:")) return { errors: [{ text: `${path} resolves to ${url}` }] };
      return { path: decodeURIComponent(new URL(url).pathname) };
    });
  },
};

/** Builds the page; resolves to the size of each script in bytes. */
export async function buildPage(outputFolder: string): Promise<Record<string, number>> {
  const result = await build({
    absWorkingDir: decodeURIComponent(here.pathname),
    entryPoints: ["main.ts"],
    outdir: outputFolder,
    bundle: true,
    minify: true,
    sourcemap: "linked",
    format: "esm",
    target: "es2024",
    charset: "utf8",
    legalComments: "none",
    metafile: true,
    plugins: [importMap],
  });
  for (const name of ["index.html", "style.css", "icon.svg"]) {
    await Deno.copyFile(new URL(name, here), `${outputFolder}/${name}`);
  }
  const font = import.meta.resolve(
    "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2",
  );
  await Deno.copyFile(new URL(font), `${outputFolder}/inter.woff2`);
  return Object.fromEntries(
    Object.entries(result.metafile.outputs)
      .filter(([name]) => name.endsWith(".js"))
      .map(([name, { bytes }]) => [name.split("/").at(-1) ?? name, bytes]),
  );
}

if (import.meta.main) {
  const folder = Deno.args[0] ??
    decodeURIComponent(new URL("../../dist/web", import.meta.url).pathname);
  await buildPage(folder);
  // esbuild's helper process would keep the task alive.
  Deno.exit(0);
}
