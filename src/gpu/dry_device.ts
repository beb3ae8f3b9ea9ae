/**
 * A GPUDevice that holds and does nothing, but whose buffers have sizes: recording against it lays
 * memory out exactly as a real device with these limits would, without one. Memory is planned so.
 */
import { Gpu } from "./device.ts";
import { asDevice } from "./profiles.ts";
import { decidedBy } from "./tuning.ts";

/** What a dry device has of a real one: limits, the adapter, and which kernels were chosen there. */
export type DeviceModel = Pick<Gpu, "limits" | "adapter"> & Partial<Pick<Gpu, "tuner" | "family">>;

/** A Gpu on no device; by default with limits as GPUs offer them. */
export function dryGpu(like: DeviceModel = asDevice()): Gpu {
  const nothing = () => {};
  const pass = {
    setPipeline: nothing,
    setBindGroup: nothing,
    dispatchWorkgroups: nothing,
    end: nothing,
  };
  const encoder = {
    beginComputePass: () => pass,
    copyBufferToBuffer: nothing,
    copyBufferToTexture: nothing,
    clearBuffer: nothing,
    finish: () => ({}),
  };
  const device = {
    limits: like.limits,
    features: new Set<string>(),
    queue: {
      writeBuffer: nothing,
      submit: nothing,
      onSubmittedWorkDone: () => Promise.resolve(),
    },
    lost: new Promise<never>(nothing),
    createBuffer: ({ size }: GPUBufferDescriptor) => ({
      size,
      destroy: nothing,
      mapAsync: () => Promise.resolve(),
      getMappedRange: (_offset: number, bytes: number) => new ArrayBuffer(bytes),
    }),
    createTexture: () => ({ createView: () => ({}), destroy: nothing }),
    createShaderModule: () => ({ getCompilationInfo: () => Promise.resolve({ messages: [] }) }),
    createBindGroupLayout: () => ({}),
    createPipelineLayout: () => ({}),
    createComputePipeline: () => ({}),
    createBindGroup: () => ({}),
    createCommandEncoder: () => encoder,
    pushErrorScope: nothing,
    popErrorScope: () => Promise.resolve(null),
    destroy: nothing,
  };
  const gpu = new Gpu(device as unknown as GPUDevice, like.adapter, like.family);
  if (like.tuner) gpu.tuner = decidedBy(like.tuner);
  return gpu;
}
