/** Element types of graphs that are not ours: float16 ends are cast on the GPU, by two tiny graphs. */
import type { Gpu } from "../../gpu/device.ts";
import { elements } from "../../gpu/tensor.ts";
import { dataTypes, encodeGraph, encodeModelPrefix, lengthDelimited, Writer } from "./proto.ts";
import {
  createSession,
  type OrtSession,
  OrtTensor,
  releaseSession,
  runSession,
} from "./runtime.ts";

export type FloatType = "float32" | "float16";

const dtypes = { float32: "f32", float16: "f16" } as const;

export class Casts {
  readonly #gpu: Gpu;
  readonly #sessions = new Map<FloatType, Promise<OrtSession>>();

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /** A new tensor of the other type on the GPU; the caller disposes of it. */
  async to(type: FloatType, tensor: OrtTensor): Promise<OrtTensor> {
    let session = this.#sessions.get(type);
    if (!session) this.#sessions.set(type, session = this.#open(type));
    const count = elements(tensor.dims);
    const flat = OrtTensor.fromGpuBuffer(tensor.gpuBuffer, {
      dataType: tensor.type as FloatType,
      dims: [count],
    });
    const { y } = await runSession(this.#gpu, `cast to ${type}`, await session, { x: flat }, ["y"]);
    return OrtTensor.fromGpuBuffer(y!.gpuBuffer, {
      dataType: type,
      dims: tensor.dims,
      dispose: () => y!.dispose(),
    });
  }

  async dispose(): Promise<void> {
    for (const [type, session] of this.#sessions) {
      await releaseSession(`cast to ${type}`, await session);
    }
    this.#sessions.clear();
  }

  #open(type: FloatType): Promise<OrtSession> {
    const from = type === "float16" ? "f32" : "f16";
    const graph = encodeGraph({
      name: `cast to ${type}`,
      nodes: [{
        opType: "Cast",
        name: "/Cast",
        inputs: ["x"],
        outputs: ["y"],
        attributes: { to: { int: dataTypes[dtypes[type]] } },
      }],
      inputs: [{ name: "x", dtype: from, dims: ["count"] }],
      outputs: [{ name: "y", dtype: dtypes[type], dims: ["count"] }],
    });
    const field = Writer.create().uint32(lengthDelimited(7)).bytes(graph).finish();
    const prefix = encodeModelPrefix("stable-diffusion-webgpu");
    const model = new Uint8Array(prefix.length + field.length);
    model.set(prefix);
    model.set(field, prefix.length);
    return createSession(this.#gpu, `cast to ${type}`, model, []);
  }
}
