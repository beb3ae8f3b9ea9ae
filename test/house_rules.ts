/// <reference lib="deno.unstable" />
/**
 * The project's own lint rules, run by `deno lint`: kernels live in .wgsl files, GPU objects are made
 * in src/gpu/, and what a browser lacks is named only at the edges.
 */

/** Where Deno and node: modules may be named. */
const edges = [
  /^(server|cli|adapter)\.ts$/,
  /^cli\//,
  /^src\/http\//,
  /^src\/weights\/deno_\w+\.ts$/,
  /^src\/web\/build\.ts$/,
  /^test\//,
];

/** Where device.createBuffer and device.createShaderModule may be called. */
const makers = [
  /^src\/gpu\//,
  // Enters onnxruntime's buffers in the ledger.
  /^src\/backends\/onnx\/counted_device\.ts$/,
  /^test\//,
];

const root = new URL("../", import.meta.url).pathname;
const isIn = (filename: string, places: readonly RegExp[]) => {
  const path = filename.startsWith(root) ? filename.slice(root.length) : filename;
  return places.some((place) => place.test(path));
};

const nothing = {};

const plugin: Deno.lint.Plugin = {
  name: "house",
  rules: {
    "kernels-in-files": {
      create(context) {
        if (isIn(context.filename, [/^test\//])) return nothing;
        const check = (node: Deno.lint.Node, text: unknown) => {
          if (
            typeof text === "string" && /@compute\b|\bvar<(storage|uniform|workgroup)/.test(text)
          ) {
            context.report({ node, message: "WGSL belongs in a file under kernels/" });
          }
        };
        return {
          Literal: (node) => check(node, node.value),
          TemplateElement: (node) => check(node, node.cooked),
        };
      },
    },
    "gpu-objects": {
      create(context) {
        if (isIn(context.filename, makers)) return nothing;
        return {
          "CallExpression > MemberExpression"(node) {
            const method = node.property.type === "Identifier" ? node.property.name : "";
            const owner = node.object.type === "MemberExpression"
              ? node.object.property
              : node.object;
            const onDevice = owner.type === "Identifier" && owner.name === "device";
            if (method === "createShaderModule" || (method === "createBuffer" && onDevice)) {
              context.report({ node, message: `${method} is called only under src/gpu/` });
            }
          },
        };
      },
    },
    "deno-at-the-edges": {
      create(context) {
        if (isIn(context.filename, edges)) return nothing;
        const message = "This file also runs in a browser: Deno and node: stay at the edges";
        return {
          Identifier(node) {
            if (node.name === "Deno") context.report({ node, message });
          },
          ImportDeclaration(node) {
            if (node.source.value.startsWith("node:")) context.report({ node, message });
          },
        };
      },
    },
  },
};

export default plugin;
