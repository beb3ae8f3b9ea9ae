/**
 * The device as onnxruntime gets it: the same GPUDevice, seen through a proxy that enters every
 * buffer onnxruntime makes in the memory ledger, so that the report covers both backends.
 */
import type { Gpu } from "../../gpu/device.ts";
import type { Owner } from "../../gpu/ledger.ts";

export interface CountedDevice {
  /** What onnxruntime uses; one object for each GPU, since it knows devices by identity. */
  readonly device: GPUDevice;
  /** To whom buffers made from now on belong. */
  owner: Owner;
}

const devices = new WeakMap<Gpu, CountedDevice>();

export function countedDevice(gpu: Gpu): CountedDevice {
  const known = devices.get(gpu);
  if (known) return known;
  const counted: { device: GPUDevice; owner: Owner } = { device: gpu.device, owner: "arena" };
  const createBuffer = (descriptor: GPUBufferDescriptor): GPUBuffer => {
    const buffer = gpu.device.createBuffer(descriptor);
    const destroy = buffer.destroy.bind(buffer);
    gpu.ledger.add(buffer, counted.owner, descriptor.size);
    buffer.destroy = () => {
      gpu.ledger.remove(buffer);
      destroy();
    };
    return buffer;
  };
  // platform objects check `this`, so methods are bound and accessors read on the device itself
  const methods = new Map<PropertyKey, unknown>([["createBuffer", createBuffer]]);
  counted.device = new Proxy(gpu.device, {
    get(target, key) {
      if (methods.has(key)) return methods.get(key);
      const value = Reflect.get(target, key, target);
      if (typeof value !== "function") return value;
      const bound = value.bind(target);
      methods.set(key, bound);
      return bound;
    },
    set: (target, key, value) => Reflect.set(target, key, value, target),
  });
  devices.set(gpu, counted);
  return counted;
}
