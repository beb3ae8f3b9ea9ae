/**
 * A GPUDevice that holds and does nothing, but whose buffers have sizes: recording against it lays
 * memory out exactly as a real device with these limits would, without one. Memory is planned so.
 */
import { Gpu } from "./device.ts";
import { decidedBy } from "./tuning.ts";

/** Limits as GPUs offer them: what is planned without a device is for one that is not there yet. */
export const defaultLimits = {
  maxBufferSize: 2 ** 32,
  maxStorageBufferBindingSize: 2 ** 31 - 4,
  maxStorageBuffersPerShaderStage: 10,
  maxComputeWorkgroupStorageSize: 32768,
  maxComputeInvocationsPerWorkgroup: 1024,
  maxComputeWorkgroupSizeX: 1024,
  maxComputeWorkgroupSizeY: 1024,
  maxComputeWorkgroupsPerDimension: 65535,
  maxTextureDimension2D: 16384,
  minUniformBufferOffsetAlignment: 256,
  minStorageBufferOffsetAlignment: 256,
};

/** What a dry device has of a real one: limits, the adapter, and which kernels were chosen there. */
export type DeviceModel = Pick<Gpu, "limits" | "adapter"> & Partial<Pick<Gpu, "tuner" | "family">>;

/** A Gpu on no device. */
export function dryGpu(like?: DeviceModel): Gpu {
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
    limits: like?.limits ?? defaultLimits,
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
  const adapter = like?.adapter ?? {
    vendor: "",
    architecture: "",
    description: "no device",
    isSoftware: false,
  };
  const gpu = new Gpu(device as unknown as GPUDevice, adapter, like?.family);
  if (like?.tuner) gpu.tuner = decidedBy(like.tuner);
  return gpu;
}
