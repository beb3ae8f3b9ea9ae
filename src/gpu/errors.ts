/** No WebGPU adapter or device could be had; the message says what to install or enable. */
export class DeviceUnavailableError extends Error {
  override readonly name = "DeviceUnavailableError";
}

/** The device went away (driver reset, `destroy()`); everything on it is gone. */
export class DeviceLostError extends Error {
  override readonly name = "DeviceLostError";
}

/** The device refused an allocation, or the memory budget would be exceeded. */
export class OutOfDeviceMemoryError extends Error {
  override readonly name = "OutOfDeviceMemoryError";
}

/** A kernel does not compile, or was called against its contract. */
export class KernelError extends Error {
  override readonly name = "KernelError";
  constructor(readonly kernel: string, message: string) {
    super(`${kernel}: ${message}`);
  }
}

/** A tensor is larger than what the device binds at once: fewer or smaller images may fit. */
export class BindingLimitError extends Error {
  override readonly name = "BindingLimitError";
}
