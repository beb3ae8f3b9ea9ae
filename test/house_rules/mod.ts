/// <reference lib="deno.unstable" />
/** The project's own lint rules, run by `deno lint`. */
import { dialect } from "./dialect.ts";
import { rooms } from "./rooms.ts";

const plugin: Deno.lint.Plugin = { name: "house", rules: { ...rooms, ...dialect } };

export default plugin;
