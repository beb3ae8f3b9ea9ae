/// <reference lib="deno.unstable" />
/** What is done in one place only: kernels, GPU objects, the edges, error classes, paths of files. */
import { edges, isIn, makers } from "./places.ts";

const nothing = {};

export const rooms: Record<string, Deno.lint.Rule> = {
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
  "errors-in-errors-ts": {
    create(context) {
      if (!isIn(context.filename, [/^src\//]) || isIn(context.filename, [/\/errors\.ts$/])) {
        return nothing;
      }
      const message = "Error classes lie in their room's errors.ts";
      return {
        ClassDeclaration(node) {
          const parent = node.superClass;
          if (parent?.type === "Identifier" && parent.name.endsWith("Error")) {
            context.report({ node, message });
          }
        },
      };
    },
  },
  "no-url-pathname": {
    create(context) {
      // A URL's pathname is escaped (a space is %20) and, on Windows, begins with a slash.
      const message = "The pathname of a file: URL is no path: use fileURLToPath";
      return {
        'MemberExpression[property.name="pathname"]'(node: Deno.lint.MemberExpression) {
          const { object } = node;
          const isFile = object.type === "NewExpression"
            ? context.sourceCode.getText(object).includes("import.meta.url")
            : object.type === "Identifier" && object.name !== "location";
          if (isFile) context.report({ node, message });
        },
      };
    },
  },
};
