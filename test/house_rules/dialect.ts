/// <reference lib="deno.unstable" />
/** One way to say a thing where there could be several. */
import { copied, isIn } from "./places.ts";

const nothing = {};

/** Words that begin a sentence, as opposed to the name of what a message is about. */
const openers = new Set(
  ("a an the this these that those its it one only no not none unknown there cannot must some any " +
    "every each arrays two more").split(" "),
);

/** Errors that put a name and a colon before the message they are given. */
const reasons = new Set(["FileReadError", "KernelError", "OnnxError"]);

/** What a message does otherwise than the others, or undefined. */
function flawOf(text: string, isReason: boolean): string | undefined {
  if (/[^.]\.$/.test(text)) return "ends without a full stop";
  const first = /^[a-z]+(?= )/.exec(text)?.[0];
  if (!isReason && first !== undefined && openers.has(first)) {
    return "begins with a capital letter, or with the name of what is wrong";
  }
  if (/: want |, want |, got | expected /.test(text)) {
    return 'says "must be ..., not ..." or "is ..., wanted ..."';
  }
  return undefined;
}

/** The text of a string, a template or a sum of them; what is computed becomes `…`. */
function textOf(node: Deno.lint.Node | Deno.lint.SpreadElement): string | undefined {
  switch (node.type) {
    case "Literal":
      return typeof node.value === "string" ? node.value : undefined;
    case "TemplateLiteral":
      return node.quasis.map((part) => part.cooked).join("…");
    case "BinaryExpression": {
      const sides = [textOf(node.left), textOf(node.right)];
      return sides.some((side) => side !== undefined)
        ? sides.map((side) => side ?? "…").join("")
        : undefined;
    }
    default:
      return undefined;
  }
}

export const dialect: Record<string, Deno.lint.Rule> = {
  "throws-in-braces": {
    create(context) {
      const message = "Say what is thrown as `@throws {Class} when ...`";
      return {
        Program() {
          for (const comment of context.sourceCode.getAllComments()) {
            if (comment.type !== "Block" || !comment.value.startsWith("*")) continue;
            const told = comment.value.replace(/`[^`]*`/g, "");
            if (/@throws (?!\{[\w.| ]+\})/.test(told) || /\bthrows (an? )?\w*Error\b/i.test(told)) {
              context.report({ range: comment.range, message });
            }
          }
        },
      };
    },
  },
  "constant-case": {
    create(context) {
      const message = "A constant is camelCase in TypeScript; WGSL's are UPPER_CASE";
      const check = (node: Deno.lint.VariableDeclaration) => {
        for (const { id } of node.declarations) {
          if (id.type === "Identifier" && /^[A-Z][A-Z0-9_]*$/.test(id.name)) {
            context.report({ node: id, message });
          }
        }
      };
      return {
        "Program > VariableDeclaration": check,
        "Program > ExportNamedDeclaration > VariableDeclaration": check,
      };
    },
  },
  "hash-private": {
    create(context) {
      if (isIn(context.filename, [/^test\//])) return nothing;
      const message = "A private member is a #name";
      // A constructor knows no other form, nor does what a subclass reaches.
      const check = (node: Deno.lint.Node) => {
        if (/^private\b(?! constructor)/.test(context.sourceCode.getText(node))) {
          context.report({ node, message });
        }
      };
      const checkMethod = { MethodDefinition: check, TSParameterProperty: check };
      return isIn(context.filename, copied)
        ? checkMethod
        : { ...checkMethod, PropertyDefinition: check };
    },
  },
  "error-message": {
    create(context) {
      if (isIn(context.filename, [/^test\//])) return nothing;
      return {
        NewExpression(node) {
          if (node.callee.type !== "Identifier" || !/(Error|Exception)$/.test(node.callee.name)) {
            return;
          }
          const after = reasons.has(node.callee.name);
          for (const argument of node.arguments) {
            const text = textOf(argument);
            // A word alone is a field, a kind or a kernel.
            const flaw = text?.includes(" ") ? flawOf(text, after) : undefined;
            if (flaw) context.report({ node: argument, message: `An error's message ${flaw}` });
          }
        },
      };
    },
  },
};
