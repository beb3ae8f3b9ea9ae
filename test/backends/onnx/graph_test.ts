/** The exporter's parts: graphs are well formed, misfits are refused, bytes are converted right. */
import assert from "node:assert/strict";
import { buildGraph } from "../../../src/backends/onnx/export/build.ts";
import { writeModel } from "../../../src/backends/onnx/export/mod.ts";
import { networks } from "../../../src/models/sd3/networks.ts";
import { relativeBuckets } from "../../../src/backends/onnx/export/t5.ts";
import { convert, transpose } from "../../../src/backends/onnx/export/weights.ts";
import { summariseModel } from "../../../src/backends/onnx/proto.ts";
import { type Checkpoint, readTensor } from "../../../src/weights/checkpoint.ts";
import type { ElementType } from "../../../src/weights/element_types.ts";
import { openCheckpoint } from "../../../src/weights/layouts/mod.ts";
import { directorySink } from "../../../src/weights/deno_sink.ts";
import { directorySource } from "../../../src/weights/deno_source.ts";
import { tinyModel } from "./golden.ts";
import { cpuSession, type Files, memorySink } from "./memory_sink.ts";

/** A checkpoint in memory whose tensors a test may change. */
interface Loaded {
  config: Record<string, unknown>;
  tensors: Map<string, { type: ElementType; shape: number[]; bytes: Uint8Array<ArrayBuffer> }>;
}

async function load(folder: string): Promise<Loaded> {
  const source = directorySource(tinyModel);
  try {
    const checkpoint = await openCheckpoint(source, folder);
    const tensors: Loaded["tensors"] = new Map();
    for (const [name, entry] of checkpoint.tensors) {
      const bytes = await readTensor(checkpoint, entry);
      tensors.set(name, { type: entry.type, shape: [...entry.shape], bytes });
    }
    return { config: JSON.parse(await source.text(`${folder}/config.json`)), tensors };
  } finally {
    source.close();
  }
}

const rows = Object.values(networks);
const rowOf = (name: string) => rows.find((row) => row.name === name)!;

function build(name: string, { config, tensors }: Loaded) {
  const checkpoint: Checkpoint = {
    name: "memory",
    // Each is a file of its own.
    tensors: new Map([...tensors].map(([file, { type, shape, bytes }]) => [
      file,
      { type, shape, ranges: [{ file, start: 0, end: bytes.length }] },
    ])),
    readRange: ({ file, start, end }) =>
      Promise.resolve(tensors.get(file)!.bytes.slice(start, end)),
  };
  return buildGraph(rowOf(name), JSON.stringify(config), checkpoint, "f32");
}

async function written(folder: string, loaded: Loaded): Promise<Files> {
  const files: Files = new Map();
  await writeModel(build(folder, loaded), memorySink(files), folder);
  return files;
}

/** Operators of the standard domain at opset 17 that the graphs may use. */
const operators = new Set(
  ("Add ArgMax Cast Concat Conv Cos Div Equal Erf Gather GatherND Identity InstanceNormalization " +
    "LayerNormalization MatMul Max Min Mul Range ReduceMean Reshape Resize Shape Sigmoid Sin Slice " +
    "Softmax Sqrt Squeeze Sub Tanh Transpose Unsqueeze").split(" "),
);

for (const { name: folder, folder: source } of rows) {
  Deno.test(`the graph of ${folder} is well formed`, async () => {
    const files = await written(folder, await load(source));
    const model = summariseModel(files.get(`${folder}/model.onnx`)!);
    assert.deepEqual([...model.opsets], [["", 17]]);
    const known = new Set(model.initializers.map(({ name }) => name));
    assert.equal(known.size, model.initializers.length, "initializers have distinct names");
    const session = await cpuSession(files, folder);
    for (const name of session.inputNames) known.add(name);
    const nodes = new Set<string>();
    for (const node of model.nodes) {
      assert.ok(operators.has(node.opType), node.opType);
      assert.equal(node.domain, "");
      assert.ok(!nodes.has(node.name), `${node.name} is there once`);
      nodes.add(node.name);
      for (const name of node.inputs) {
        assert.ok(name === "" || known.has(name), `${node.name} reads ${name} before it is made`);
      }
      for (const name of node.outputs) {
        assert.ok(!known.has(name), `${name} is made once`);
        known.add(name);
      }
    }
    for (const name of session.outputNames) assert.ok(known.has(name), name);
    await session.release();
  });
}

Deno.test("onnx.checker accepts every graph where Python has it", async () => {
  const directory = await Deno.makeTempDir();
  try {
    for (const { name: folder, folder: source } of rows) {
      const loaded = await load(source);
      await writeModel(build(folder, loaded), directorySink(directory), folder);
      const external = `${folder}_external`;
      await writeModel(build(folder, loaded), directorySink(directory), external, {
        externalAbove: 0,
      });
    }
    const script = "import sys, onnx\nfor f in sys.argv[1:]: " +
      "onnx.checker.check_model(f, full_check=True)\nprint('checked', len(sys.argv) - 1)";
    const paths = rows.flatMap(({ name: folder }) => [
      `${directory}/${folder}/model.onnx`,
      `${directory}/${folder}_external/model.onnx`,
    ]);
    // what is written is what was checked in memory above; Python adds type and shape inference
    for (const path of paths) assert.ok(summariseModel(Deno.readFileSync(path)).nodes.length > 20);
    const python = await findPython();
    if (!python) return;
    const result = await new Deno.Command(python, { args: ["-c", script, ...paths] }).output();
    const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
    assert.equal(decode(result.stdout), `checked ${paths.length}`, decode(result.stderr));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

/** A Python that imports onnx. */
async function findPython(): Promise<string | undefined> {
  for (const python of ["python3", "/usr/bin/python3"]) {
    try {
      const { success } = await new Deno.Command(python, {
        args: ["-c", "import onnx"],
        stderr: "null",
      }).output();
      if (success) return python;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return undefined;
}

Deno.test("a checkpoint that does not fit its config is refused by name", async (t) => {
  const refuse = async (
    name: string,
    folder: string,
    change: (loaded: Loaded) => void,
    message: RegExp,
  ) => {
    await t.step(name, async () => {
      const loaded = await load(rowOf(folder).folder);
      change(loaded);
      assert.throws(() => build(folder, loaded), message);
    });
  };
  await refuse(
    "missing tensor",
    "transformer",
    ({ tensors }) => tensors.delete("transformer_blocks.1.attn.to_q.weight"),
    /no tensor transformer_blocks\.1\.attn\.to_q\.weight/,
  );
  await refuse(
    "wrong shape",
    "vae_decoder",
    ({ tensors }) => tensors.get("decoder.conv_in.weight")!.shape.reverse(),
    /decoder\.conv_in\.weight is \[3,3,16,64\], the config implies \[64,16,3,3\]/,
  );
  await refuse(
    "tensors that the config does not know",
    "transformer",
    ({ config }) => config.dual_attention_layers = [0, 1],
    /transformer_blocks\.2\.norm1\.linear\.weight is \[1728,192\]/,
  );
  await refuse(
    "a layer too many",
    "text_encoder",
    ({ config }) => config.num_hidden_layers = 1,
    /16 tensors have no place.*layers\.1\./,
  );
  await refuse(
    "unknown activation",
    "text_encoder_2",
    ({ config }) => config.hidden_act = "relu",
    /text_encoder_2\/config\.json[^]*hidden_act/,
  );
  await refuse(
    "element type",
    "text_encoder_3",
    ({ tensors }) => tensors.get("shared.weight")!.type = "F8_E4M3",
    /shared\.weight: element type F8_E4M3/,
  );
});

Deno.test("bfloat16 becomes float16, or is refused where it does not fit", () => {
  const bf16 = (...values: number[]) =>
    new Uint8Array(
      Uint16Array.from(new Uint32Array(Float32Array.from(values).buffer), (bits) => bits >>> 16)
        .buffer,
    );
  const narrow = convert(bf16(1, -0.15625, 65280, 2 ** -14), "BF16", "f16", "w");
  assert.deepEqual([...new Float16Array(narrow.buffer)], [1, -0.15625, 65280, 2 ** -14]);
  assert.deepEqual([...new Float32Array(convert(bf16(3e38), "BF16", "f32", "w").buffer)].length, 1);
  assert.throws(() => convert(bf16(1, 131072), "BF16", "f16", "w"), /w: 131072 is outside/);
});

Deno.test("bytes at an odd offset convert the same", () => {
  const halves = new Uint8Array(Float16Array.of(1, 2, -3).buffer);
  const shifted = new Uint8Array(7);
  shifted.set(halves, 1);
  const wide = convert(shifted.subarray(1), "F16", "f32", "w");
  assert.deepEqual([...new Float32Array(wide.buffer)], [1, 2, -3]);
});

Deno.test("transposing swaps the axes, whatever the tiles", () => {
  for (const [rows, columns] of [[1, 5], [33, 65], [64, 32]] as const) {
    const source = Uint16Array.from({ length: rows * columns }, (_, i) => i);
    const turned = new Uint16Array(
      transpose(new Uint8Array(source.buffer), rows, columns).buffer,
    );
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        assert.equal(turned[c * rows + r], source[r * columns + c]);
      }
    }
  }
});

Deno.test("T5's distance buckets have transformers' borders", () => {
  const buckets = relativeBuckets(32, 128);
  const at = (distance: number) => buckets[distance + 128];
  assert.equal(buckets.length, 257);
  // keys before the query take buckets 0..15, keys after it 16..31
  const borders = [[0, 0], [-1, 1], [-7, 7], [-8, 8], [-11, 8], [-12, 9], [-15, 9], [-16, 10]];
  const far = [[-31, 11], [-32, 12], [-63, 13], [-64, 14], [-90, 14], [-91, 15], [-128, 15]];
  for (const [distance, bucket] of [...borders, ...far]) {
    assert.equal(at(distance!), bucket, `${distance}`);
    if (distance !== 0) assert.equal(at(-distance!), bucket! + 16, `${-distance!}`);
  }
});
