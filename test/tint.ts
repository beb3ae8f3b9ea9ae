/**
 * Tint, the WGSL compiler of Chromium, as Dawn's npm package on its null backend: validates on any
 * machine, executes nothing.
 */
import { create } from "webgpu";

// The object must outlive its adapters, or calls hang or abort: an unexported variable that no
// function uses is collected.
export const dawn = create(["backend=null"]);
const adapter = await dawn.requestAdapter();
if (!adapter) throw new Error("Dawn's null backend gave no adapter");
const device = await adapter.requestDevice({
  requiredFeatures: adapter.features.has("shader-f16") ? ["shader-f16"] : [],
  requiredLimits: {
    maxStorageBuffersPerShaderStage: adapter.limits.maxStorageBuffersPerShaderStage,
    maxComputeInvocationsPerWorkgroup: adapter.limits.maxComputeInvocationsPerWorkgroup,
    maxComputeWorkgroupSizeX: adapter.limits.maxComputeWorkgroupSizeX,
    maxComputeWorkgroupStorageSize: adapter.limits.maxComputeWorkgroupStorageSize,
  },
});

/** What Tint says against a shader and its pipeline; empty if nothing. */
export async function tintErrors(code: string, constants: Record<string, number>) {
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code });
  device.createComputePipeline({
    layout: "auto",
    compute: { module, entryPoint: "main", constants },
  });
  const error = await device.popErrorScope();
  if (!error) return [];
  const info = await module.getCompilationInfo();
  const messages = info.messages.filter((m) => m.type === "error")
    .map((m) => `line ${m.lineNum}: ${m.message}`);
  return messages.length ? messages : [error.message];
}

/** Dawn's threads keep the process alive until the device is gone. */
export function closeTint(): void {
  device.destroy();
}
