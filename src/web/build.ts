/**
 * `deno task web`: bundles the page into `dist/web` (or the folder named as the first argument).
 * Names are fixed: the server sends entity tags, so nothing stale is used.
 */
import { build, type Plugin } from "esbuild";
import { fileURLToPath } from "node:url";

const here = new URL("./", import.meta.url);

/**
 * Resolves bare names to the packages that the import map pins. Deno says where a package lies, but
 * by the conditions of a server; so esbuild looks itself, through a link, by those of a browser.
 */
function importMap(linkFolder: string): Plugin {
  return {
    name: "import-map",
    setup(context) {
      context.onResolve({ filter: /^[^./]/ }, async ({ path, kind, pluginData }) => {
        if (kind === "entry-point" || pluginData === importMap) return undefined;
        const name = path.split("/", path.startsWith("@") ? 2 : 1).join("/");
        const url = import.meta.resolve(path);
        // .../<host>/<name>/<version>/<file>
        const end = url.indexOf("/", url.indexOf(`/${name}/`) + name.length + 2);
        if (!url.startsWith("file:") || end < 0) {
          return { errors: [{ text: `${path} is no package of the import map: ${url}` }] };
        }
        const link = `${linkFolder}/node_modules/${name}`;
        await Deno.mkdir(link.slice(0, link.lastIndexOf("/")), { recursive: true });
        try {
          await Deno.symlink(fileURLToPath(url.slice(0, end)), link);
        } catch (error) {
          if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
        }
        return await context.resolve(path, { kind, resolveDir: linkFolder, pluginData: importMap });
      });
    },
  };
}

/** Builds the page; resolves to the size of each script in bytes. */
export async function buildPage(outputFolder: string): Promise<Record<string, number>> {
  const linkFolder = await Deno.makeTempDir();
  const result = await build({
    absWorkingDir: fileURLToPath(here),
    entryPoints: ["main.ts", "engine_worker.ts", "style.css"],
    external: ["./inter.woff2"],
    outdir: outputFolder,
    bundle: true,
    minify: true,
    sourcemap: "linked",
    format: "esm",
    target: "es2024",
    charset: "utf8",
    legalComments: "none",
    metafile: true,
    plugins: [importMap(linkFolder)],
  }).finally(() => Deno.remove(linkFolder, { recursive: true }));
  for (const name of ["index.html", "icon.svg"]) {
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
  const folder = Deno.args[0] ?? fileURLToPath(new URL("../../dist/web", import.meta.url));
  await buildPage(folder);
  // esbuild's helper process would keep the task alive.
  Deno.exit(0);
}
