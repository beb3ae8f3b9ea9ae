/** Graphs that cannot be used are refused when they are opened, with the node or end by name. */
import assert from "node:assert/strict";
import { openGpu } from "../../../src/gpu/device.ts";
import { chooseBackends, inspectDirectory } from "../../../src/backends/choice.ts";
import { clipGraph } from "../../../src/backends/onnx/clip.ts";
import { readOnnxFiles } from "../../../src/backends/onnx/files.ts";
import { type GraphInterface, OnnxGraph } from "../../../src/backends/onnx/graph.ts";
import {
  type DataType,
  type Dim,
  encodeGraph,
  encodeModelPrefix,
  encodeTensorHeader,
  lengthDelimited,
  type NodeProto,
  Writer,
} from "../../../src/backends/onnx/proto.ts";
import { clipTextConfig, parseConfig } from "../../../src/models/sd3/configs.ts";
import { directorySource } from "../../../src/weights/deno_source.ts";
import type { FileSource } from "../../../src/weights/source.ts";
import { gpu } from "../../gpu.ts";
import { clip as clipConfig } from "../../foreign/configs.ts";
import { tinyModel } from "./golden.ts";
import { FileNotFoundError } from "../../../src/weights/errors.ts";

/** A model of the given nodes from x [n, 4] to y [n, 4]. */
function model(
  nodes: Partial<NodeProto>[],
  {
    dtype = "f32" as DataType,
    dims = ["n", 4] as Dim[],
    external = undefined as string | undefined,
  } = {},
): Uint8Array<ArrayBuffer> {
  const body = encodeGraph({
    name: "test",
    nodes: nodes.map((node) => ({
      opType: "Identity",
      name: "/node",
      inputs: ["x"],
      outputs: ["y"],
      attributes: {},
      ...node,
    })),
    inputs: [{ name: "x", dtype, dims }],
    outputs: [{ name: "y", dtype, dims }],
  });
  const tensor = external &&
    encodeTensorHeader({
      name: "w",
      dtype: "f32",
      dims: [4],
      external: { location: external, offset: 0, length: 16 },
    });
  const parts = [body];
  if (tensor) parts.push(Writer.create().uint32(lengthDelimited(5)).bytes(tensor).finish());
  const graph = Writer.create().uint32(lengthDelimited(7)).bytes(concat(parts)).finish();
  return concat([encodeModelPrefix("test"), graph]);
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function source(files: Record<string, Uint8Array<ArrayBuffer>>): FileSource {
  const of = (path: string) => {
    const bytes = files[path];
    if (!bytes) throw new FileNotFoundError("memory", path);
    return bytes;
  };
  return {
    name: "memory",
    list: () => Promise.resolve(Object.keys(files).sort()),
    size: (path) => Promise.resolve().then(() => of(path).length),
    read: (path, start, end) => Promise.resolve(of(path).slice(start, end)),
    text: (path) => Promise.resolve(new TextDecoder().decode(of(path))),
    has: (path) => Promise.resolve(path in files),
  };
}

const identity: GraphInterface = {
  inputs: [{ name: "x", dims: [1, 4], kind: "float" }],
  outputs: [{ name: "y", dims: [1, 4], kind: "float" }],
};

async function open(bytes: Uint8Array<ArrayBuffer>, wanted = identity): Promise<OnnxGraph> {
  return await OnnxGraph.open(
    gpu,
    await readOnnxFiles(source({ "g/model.onnx": bytes }), "g"),
    wanted,
  );
}

const pointer = new TextEncoder().encode(
  "version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 4939\n",
);

const refusals: readonly [string, Uint8Array<ArrayBuffer>, RegExp][] = [
  [
    "an operator that does not exist",
    model([{ opType: "Frobnicate", name: "/block/frob" }]),
    /memory\/g\/model\.onnx: No Op registered for Frobnicate.*\/block\/frob/,
  ],
  ["an input of the wrong type", model([{ opType: "Not", name: "/block/not" }]), /\/block\/not/],
  [
    "a value that nothing makes",
    model([{ opType: "Relu", name: "/block/relu", inputs: ["z"] }]),
    /'z' is not.*\/block\/relu/,
  ],
  ["bytes that are no model", new Uint8Array([1, 2, 3, 4, 5]), /damaged or not an ONNX model/],
  ["an empty file", new Uint8Array(0), /damaged or not an ONNX model/],
  ["a git-lfs pointer", pointer, /g\/model\.onnx is a git-lfs pointer.*git lfs pull/],
  ["a web page", new TextEncoder().encode("<!DOCTYPE html>"), /model\.onnx is a web page/],
  [
    "another width",
    model([{}], { dims: ["n", 5] }),
    /input x is \[n,5\], wanted \[1,4\][^]*output y is \[n,5\]/,
  ],
  ["another element type", model([{}], { dtype: "i64" }), /input x is int64, wanted float32/],
  [
    "external data that is missing",
    model([{}], { external: "model.onnx_data" }),
    /w is stored in model\.onnx_data, which is not there/,
  ],
  [
    "external data outside the folder",
    model([{}], { external: "../secrets" }),
    /w is stored outside the folder/,
  ],
];

Deno.test("refused by name: external data that is a git-lfs pointer", async () => {
  const files = source({
    "g/model.onnx": model([{}], { external: "model.onnx_data" }),
    "g/model.onnx_data": pointer,
  });
  await assert.rejects(readOnnxFiles(files, "g"), {
    name: "OnnxError",
    message: /g\/model\.onnx_data is a git-lfs pointer/,
  });
});

for (const [what, bytes, message] of refusals) {
  Deno.test(`refused by name: ${what}`, async () => {
    await assert.rejects(open(bytes), (error: Error) => {
      assert.equal(error.name, "OnnxError");
      assert.match(error.message, message);
      return true;
    });
  });
}

Deno.test("refused by name: ends under other names, or too many", async () => {
  const end = (name: string) => ({ name, dims: [1, 4], kind: "float" }) as const;
  await assert.rejects(
    open(model([{}]), { inputs: [end("latents")], outputs: [end("y")] }),
    /input latents is missing; the graph has x[^]*input x is not one that this network is given/,
  );
});

Deno.test("after refusals the runtime still works; float16 ends are cast on the GPU", async () => {
  const graph = await open(model([{}], { dtype: "f16" }));
  const x = gpu.upload(Float32Array.of(1, -2.5, 0.1, 65504), [1, 4], "x", "other");
  const y = gpu.createTensor([1, 4], "y", "other");
  await graph.run({ x }, { y });
  assert.deepEqual([...await gpu.readFloats(y)], [1, -2.5, Math.f16round(0.1), 65504]);
  await assert.rejects(
    graph.run({ x }, { y: gpu.createTensor([1, 5], "y", "other") }),
    /y came as \[1,4\], wanted \[1,5\]/,
  );
  await graph.dispose();
});

Deno.test("a device that goes away with its sessions leaves the runtime to the next one", async () => {
  const files = await readOnnxFiles(source({ "g/model.onnx": model([{}]) }), "g");
  const first = await openGpu();
  const gone = await OnnxGraph.open(first, files, identity);
  const disposed = gone.dispose();
  first.destroy();
  await disposed;
  await first.lost;
  const graph = await OnnxGraph.open(gpu, files, identity);
  const x = gpu.upload(Float32Array.of(1, 2, 3, 4), [1, 4], "x", "other");
  const y = gpu.createTensor([1, 4], "y", "other");
  await graph.run({ x }, { y });
  assert.deepEqual([...await gpu.readFloats(y)], [1, 2, 3, 4]);
  await graph.dispose();
});

Deno.test("clip_skip is refused where a graph gives no earlier hidden states", async () => {
  const free = { name: "hidden_states.0", dims: [1, 4], kind: "float", optional: true } as const;
  const without = { ...identity, outputs: [...identity.outputs, free] };
  const graph = await open(model([{}]), without);
  assert.deepEqual(["y", free.name].map((name) => graph.gives(name)), [true, false]);
  const config = parseConfig(clipTextConfig, JSON.stringify(clipConfig), "config.json");
  const clip = clipGraph.make(gpu, config, graph);
  const out = gpu.createTensor([1, 4], "out", "other");
  await assert.rejects(
    clip.embed(Int32Array.of(1), { hidden: out, pooled: out }, 1),
    { name: "InvalidRequestError", param: "clip_skip", message: /no output hidden_states\.0/ },
  );
  await graph.dispose();
});

Deno.test("damaged models are refused, whatever bytes are hit", async () => {
  const good = model([{}, { name: "/other", outputs: ["z"] }]);
  for (let cut = 0; cut < good.length; cut++) {
    const files = source({ "g/model.onnx": good.slice(0, cut) });
    // a cut may leave a smaller valid message; it must never be anything but a typed refusal
    await readOnnxFiles(files, "g").then(
      ({ summary }) => assert.ok(summary.nodes.length > 0),
      (error) => assert.equal(error.name, "OnnxError", `${cut}: ${error}`),
    );
  }
});

Deno.test("backends follow the directory and the choice", async () => {
  const bytes = new Uint8Array(1);
  const mixed = await inspectDirectory(source({
    "text_encoder/model.safetensors": bytes,
    "text_encoder/model.onnx": bytes,
    "transformer/model.onnx": bytes,
    "vae/diffusion_pytorch_model.safetensors": bytes,
  }));
  const picked = (choice: "auto" | "onnx" | "wgsl") => {
    const backends = chooseBackends(mixed, choice);
    return (["clipL", "transformer", "decoder"] as const).map((name) => backends.get(name));
  };
  assert.deepEqual(picked("auto"), ["wgsl", "onnx", "wgsl"]);
  assert.deepEqual(picked("onnx"), ["onnx", "onnx", "wgsl"]);
  assert.deepEqual(picked("wgsl"), ["wgsl", "wgsl", "wgsl"]);
  const tiny = await inspectDirectory(directorySource(tinyModel));
  assert.throws(() => chooseBackends(tiny, "onnx"), /no transformer\/model\.onnx .*export/);
  assert.deepEqual(chooseBackends(tiny, "auto").get("decoder"), "wgsl");
});
