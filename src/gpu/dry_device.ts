/**
 * A GPUDevice that holds and does nothing, but whose buffers have sizes: recording against it lays
 * memory out exactly as a real device with these limits would, without one. Memory is planned so.
 */
import { Gpu } from "./device.ts";

/** The guaranteed limits of WebGPU that matter here; an adapter usually offers more. */
export const defaultLimits = {
  maxBufferSize: 256 * 2 ** 20,
  maxStorageBufferBindingSize: 128 * 2 ** 20,
  maxStorageBuffersPerShaderStage: 8,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupSizeY: 256,
  maxComputeWorkgroupsPerDimension: 65535,
  maxTextureDimension2D: 8192,
  minUniformBufferOffsetAlignment: 256,
  minStorageBufferOffsetAlignment: 256,
};

/** A Gpu on no device. `like` gives the limits and the adapter whose kernels are chosen. */
export function dryGpu(like?: Pick<Gpu, "limits" | "adapter">): Gpu {
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
  return new Gpu(device as unknown as GPUDevice, adapter);
}
