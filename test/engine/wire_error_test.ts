/** Errors keep their class, and all they say, on the way out of a worker. */
import assert from "node:assert/strict";
import { BackendChoiceError } from "../../src/backends/errors.ts";
import { ExportError, OnnxError } from "../../src/backends/onnx/errors.ts";
import { WorkerDiedError } from "../../src/engine/errors.ts";
import { fromWireError, toWireError, wireClasses } from "../../src/engine/worker/wire_error.ts";
import * as gpu from "../../src/gpu/errors.ts";
import { ConfigError } from "../../src/models/errors.ts";
import { BusyError, InvalidRequestError } from "../../src/requests/errors.ts";
import { FileNotFoundError, FileReadError, WeightsError } from "../../src/weights/errors.ts";

/** One of each. */
const images: readonly Error[] = [
  new InvalidRequestError("height", "height: wrong"),
  new BusyError("full", 9),
  new ConfigError("transformer/config.json is absent"),
  new WeightsError("transformer", { missing: ["a.weight", "b.weight"], misshapen: ["c.weight"] }),
  new FileNotFoundError("model", "vae/config.json"),
  new FileReadError("model", "vae/config.json", "ends at byte 3"),
  new gpu.DeviceUnavailableError("no adapter"),
  new gpu.DeviceLostError("gone"),
  new gpu.OutOfDeviceMemoryError("too much"),
  new gpu.KernelError("softmax", "does not compile"),
  new gpu.BindingLimitError("too large"),
  new BackendChoiceError("no graph"),
  new OnnxError("vae_decoder/model.onnx", "no output", { cause: new RangeError("a range") }),
  new ExportError("nothing to export"),
  new WorkerDiedError("broke"),
  new AggregateError([new TypeError("one"), 2], "several"),
  new EvalError("eval"),
  new RangeError("range"),
  new ReferenceError("reference"),
  new SyntaxError("syntax"),
  new TypeError("type"),
  new URIError("uri"),
  new Error("plain", { cause: "a reason in words" }),
];

const cross = (thrown: unknown) => fromWireError(structuredClone(toWireError(thrown)));

/** What an error shows to whoever catches it. */
function seen(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  return {
    prototype: Object.getPrototypeOf(error),
    text: [error.name, error.message, error.stack, String(error)],
    fields: { ...error },
    cause: seen(error.cause),
    errors: error instanceof AggregateError && error.errors.map(seen),
  };
}

Deno.test("every class that a worker can throw crosses with all it says", () => {
  for (const sample of images) {
    const copy = cross(sample);
    assert.deepEqual(seen(copy), seen(sample), sample.name);
    assert.deepEqual(seen(cross(copy)), seen(sample), `${sample.name} twice`);
  }
  const names = images.map((sample) => sample.name).sort();
  assert.deepEqual(names, Object.keys(wireClasses).sort());
});

Deno.test("no error class of src is left out of the registry", async () => {
  const src = new URL("../../src/", import.meta.url);
  const known = Object.values(wireClasses).map(({ prototype }) => prototype);
  const found: string[] = [];
  for (const file of errorFiles(src)) {
    for (const exported of Object.values(await import(file.href))) {
      if (typeof exported !== "function" || !(exported.prototype instanceof Error)) continue;
      found.push(exported.name);
      assert.ok(known.includes(exported.prototype), `${file.href} exports ${exported.name}`);
    }
  }
  assert.ok(found.length >= 15, found.join());
});

/** Files with error classes; those of the server and the page are thrown outside the worker. */
function* errorFiles(folder: URL): Generator<URL> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    if (isDirectory && name !== "http" && name !== "web") {
      yield* errorFiles(new URL(`${name}/`, folder));
    } else if (name.endsWith(".ts")) {
      const file = new URL(name, folder);
      if (/^export class \w+ extends \w*Error\b/m.test(Deno.readTextFileSync(file))) yield file;
    }
  }
}

Deno.test("a subclass crosses as its parent, a DOMException as one, any other value as its text", () => {
  class Special extends OnnxError {
    readonly handle = () => {};
    readonly nodes = new Map([["conv", [1, 2]]]);
    readonly first = new RangeError("first");
  }
  const special = cross(new Special("graph", "broken"));
  assert.ok(special instanceof OnnxError);
  const { handle, first, ...fields } = special as unknown as Record<string, unknown>;
  assert.deepEqual(fields, {
    name: "OnnxError",
    graph: "graph",
    nodes: new Map([["conv", [1, 2]]]),
  });
  assert.match(handle as string, /=>/);
  assert.ok(first instanceof RangeError && first.message === "first");
  const abort = cross(new DOMException("stop", "AbortError"));
  assert.ok(abort instanceof DOMException);
  assert.deepEqual([abort.name, abort.code, abort.message], ["AbortError", 20, "stop"]);
  assert.equal(cross("text").message, "text");
  const named = Object.assign(new Error("x"), { name: "constructor" });
  assert.equal(cross(named).name, "constructor");
  assert.equal(Object.getPrototypeOf(cross(named)), Error.prototype);
});

Deno.test("a ring of causes ends as text", () => {
  const ring = new Error("ring");
  ring.cause = new Error("back", { cause: ring });
  let last: unknown = cross(ring);
  let length = 0;
  while (last instanceof Error) {
    last = last.cause;
    length++;
  }
  assert.ok(length > 2 && length < 20);
  assert.match(String(last), /^Error: (ring|back)$/);
});
