/** The small model and the vectors that diffusers made with it (fixtures/golden/index.json). */
import { fileURLToPath } from "node:url";
import { prepareAdapter } from "../../adapter.ts";
import { type Gpu, type GpuOptions, openGpu } from "../../src/gpu/device.ts";
import { loadModel } from "../../src/backends/load.ts";
import type { Components } from "../../src/models/sd3/components.ts";
import { describeModel } from "../../src/models/mod.ts";
import type { ModelDescription } from "../../src/models/sd3/describe.ts";
import { openFile, readTensor } from "../../src/weights/checkpoint.ts";
import { directorySource } from "../../src/weights/deno_source.ts";
import { chosen } from "../chosen_kernels.ts";

const fixtures = fileURLToPath(new URL("../../fixtures/", import.meta.url));

export interface GoldenTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}

/** All tensors of one file of fixtures/golden, as numbers. */
export async function golden(name: string): Promise<(key: string) => GoldenTensor> {
  const source = directorySource(`${fixtures}golden`);
  try {
    const checkpoint = await openFile(source, `${name}.safetensors`);
    const tensors = new Map<string, GoldenTensor>();
    for (const [key, entry] of checkpoint.tensors) {
      const bytes = await readTensor(checkpoint, entry);
      tensors.set(key, { shape: entry.shape, values: numbers(entry.type, bytes) });
    }
    return (key) => {
      const tensor = tensors.get(key);
      if (!tensor) throw new Error(`${name} has no ${key}, only ${[...tensors.keys()]}`);
      return tensor;
    };
  } finally {
    await source.close();
  }
}

function numbers(dtype: string, { buffer }: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  switch (dtype) {
    case "F32":
      return new Float32Array(buffer);
    case "U8":
      return Float32Array.from(new Uint8Array(buffer));
    case "I64":
      return Float32Array.from(new BigInt64Array(buffer), Number);
    default:
      throw new TypeError(`No golden vector is ${dtype}`);
  }
}

export interface Fixture {
  readonly gpu: Gpu;
  readonly model: ModelDescription;
  readonly components: Components;
}

/** The fixture's model on a device of its own, encoder included. */
export async function openFixture(options: GpuOptions = chosen): Promise<Fixture> {
  prepareAdapter();
  const gpu = await openGpu(options);
  const source = directorySource(`${fixtures}sd35-tiny`);
  try {
    const model = await describeModel(source);
    const components = await loadModel(model, gpu, { onDemand: ["encoder"] });
    return { gpu, model, components };
  } finally {
    await source.close();
  }
}
