/** Tensors of fixtures/golden as arrays. */
import { fileURLToPath } from "node:url";
import { openFile, readTensor } from "../../../src/weights/checkpoint.ts";
import { directorySource } from "../../../src/weights/deno_source.ts";

export interface GoldenTensor<T = Float32Array<ArrayBuffer>> {
  readonly shape: number[];
  readonly data: T;
}

const root = fileURLToPath(new URL("../../../fixtures/", import.meta.url));

/** Path of the small model. */
export const tinyModel = `${root}sd35-tiny`;

export interface Golden {
  floats(name: string): GoldenTensor;
  ids(name: string): GoldenTensor<BigInt64Array<ArrayBuffer>>;
}

export async function golden(name: string): Promise<Golden> {
  const source = directorySource(`${root}golden`);
  try {
    const checkpoint = await openFile(source, `${name}.safetensors`);
    const bytes = new Map<string, GoldenTensor<ArrayBuffer>>();
    for (const [key, entry] of checkpoint.tensors) {
      const { buffer } = await readTensor(checkpoint, entry);
      bytes.set(key, { shape: [...entry.shape], data: buffer });
    }
    const of = (key: string) => {
      const tensor = bytes.get(key);
      if (!tensor) throw new Error(`${name} has no ${key}`);
      return tensor;
    };
    return {
      floats: (key) => ({ shape: of(key).shape, data: new Float32Array(of(key).data) }),
      ids: (key) => ({ shape: of(key).shape, data: new BigInt64Array(of(key).data) }),
    };
  } finally {
    source.close();
  }
}
