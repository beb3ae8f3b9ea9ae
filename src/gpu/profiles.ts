/**
 * Adapters as data: what they report to `requestAdapter()`, for planning and for tests on machines
 * that have none of them. Where a driver reports more than can be looked up, the smaller number
 * stands here: what fits a profile fits the adapter.
 *
 * Sources, by the letters below:
 * - a: WebGPU's own defaults, https://gpuweb.github.io/gpuweb/#limits
 * - b: Dawn's tiers, `src/dawn/native/Limits.cpp`: browsers round a driver's limits down to these
 * - c: wgpu-hal 29, `vulkan/adapter.rs`, `metal/adapter.rs`, `dx12/adapter.rs`: bindings end at 2 GiB
 *   on Vulkan and Direct3D 12 and at 4 GiB on Metal; buffers end at 2 GiB on Linux and Windows;
 *   `info.vendor` is the PCI vendor's number in decimal
 * - d: reports on vulkan.gpuinfo.org (maxStorageBufferRange, maxComputeSharedMemorySize,
 *   maxComputeWorkGroupInvocations, subgroup sizes)
 * - e: measured by this project on the adapter named
 */
import type { AdapterSummary } from "./adapter.ts";

/** WebGPU's defaults: what any browser must offer, and what a device has that asks for nothing. (a) */
export const webgpuDefaults = {
  maxBufferSize: 2 ** 28,
  maxStorageBufferBindingSize: 2 ** 27,
  maxUniformBufferBindingSize: 65536,
  maxStorageBuffersPerShaderStage: 8,
  maxUniformBuffersPerShaderStage: 12,
  maxStorageTexturesPerShaderStage: 4,
  maxSampledTexturesPerShaderStage: 16,
  maxTextureDimension2D: 8192,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupSizeY: 256,
  maxComputeWorkgroupSizeZ: 64,
  maxComputeWorkgroupsPerDimension: 65535,
  minUniformBufferOffsetAlignment: 256,
  minStorageBufferOffsetAlignment: 256,
};

export type ProfileLimits = typeof webgpuDefaults;

export interface AdapterProfile {
  /** Whose WebGPU reports it: Deno's wgpu, or a browser's Dawn. */
  readonly host: "deno" | "browser";
  readonly adapter: AdapterSummary;
  readonly subgroups: { readonly min: number; readonly max: number };
  /** The device's, which asks for the adapter's in all that `openGpu` names, and for no more. */
  readonly limits: ProfileLimits;
  /** Bytes that the named card has for a model; absent where that depends on the machine. */
  readonly memory?: number;
}

const gigabyte = 1e9;
const lastBelow2GiB = 2 ** 31 - 4;
const lastBelow4GiB = 2 ** 32 - 4;

/** Desktop GPUs in Deno. (c, d) */
const wgpuDesktop: ProfileLimits = {
  ...webgpuDefaults,
  maxBufferSize: 2 ** 31 - 1,
  maxStorageBufferBindingSize: lastBelow2GiB,
  maxStorageBuffersPerShaderStage: 16,
  maxTextureDimension2D: 16384,
  maxComputeWorkgroupStorageSize: 32768,
  maxComputeInvocationsPerWorkgroup: 1024,
  maxComputeWorkgroupSizeX: 1024,
  maxComputeWorkgroupSizeY: 1024,
};

/** Desktop GPUs in browsers: the upper tiers. (b) */
const dawnDesktop: ProfileLimits = { ...wgpuDesktop, maxBufferSize: lastBelow4GiB };

function gpu(
  vendor: string,
  architecture: string,
  description: string,
  subgroupSize: number,
): AdapterSummary {
  return {
    vendor,
    architecture,
    description,
    subgroupSize,
    isSoftware: false,
    shaderF16: true,
  };
}

const profiles = {
  /** GeForce RTX 4090. (c, d) */
  "nvidia": {
    host: "deno",
    adapter: gpu("4318", "", "NVIDIA GeForce RTX 4090", 32),
    subgroups: { min: 32, max: 32 },
    limits: { ...wgpuDesktop, maxComputeWorkgroupStorageSize: 49152 },
    memory: 24 * gigabyte,
  },
  /** GeForce RTX 4090 Laptop in Chrome on Vulkan, as public reports give it; tiers of b. */
  "nvidia-browser": {
    host: "browser",
    adapter: gpu("nvidia", "lovelace", "", 32),
    subgroups: { min: 32, max: 32 },
    limits: { ...dawnDesktop, maxComputeWorkgroupStorageSize: 49152 },
    memory: 16 * gigabyte,
  },
  /** Radeon RX 7900 XTX, Mesa's RADV. (c, d) */
  "amd": {
    host: "deno",
    adapter: gpu("4098", "", "AMD Radeon RX 7900 XTX (RADV NAVI31)", 32),
    subgroups: { min: 32, max: 64 },
    limits: { ...wgpuDesktop, maxComputeWorkgroupStorageSize: 65536 },
    memory: 24 * gigabyte,
  },
  /** Radeon RX 6000 and 7000 on Direct3D 12, whose workgroups have 32 KiB. (b) */
  "amd-browser": {
    host: "browser",
    adapter: gpu("amd", "rdna-3", "", 32),
    subgroups: { min: 32, max: 64 },
    limits: dawnDesktop,
    memory: 24 * gigabyte,
  },
  /** Arc A770, Mesa's ANV. (c, d) */
  "intel": {
    host: "deno",
    adapter: gpu("32902", "", "Intel(R) Arc(tm) A770 Graphics (DG2)", 8),
    subgroups: { min: 8, max: 32 },
    limits: wgpuDesktop,
    memory: 16 * gigabyte,
  },
  /** Iris Xe on Direct3D 12: bindings of 1 GiB on older drivers. (b, d) */
  "intel-browser": {
    host: "browser",
    adapter: gpu("intel", "gen-12lp", "", 8),
    subgroups: { min: 8, max: 32 },
    limits: { ...dawnDesktop, maxBufferSize: 2 ** 31, maxStorageBufferBindingSize: 2 ** 30 },
  },
  /** M2 Pro with 16 GB. wgpu passes on Metal's maxBufferLength, which grows with the memory. (c) */
  "apple": {
    host: "deno",
    adapter: gpu("0", "", "Apple M2 Pro", 32),
    subgroups: { min: 4, max: 64 },
    limits: {
      ...wgpuDesktop,
      maxBufferSize: 2 ** 32,
      maxStorageBufferBindingSize: lastBelow4GiB,
      maxStorageBuffersPerShaderStage: 31,
    },
    memory: 11 * gigabyte,
  },
  /** Apple silicon in Chrome: ten storage buffers, as Metal has 31 arguments for all kinds. (b) */
  "apple-browser": {
    host: "browser",
    adapter: gpu("apple", "metal-3", "", 4),
    subgroups: { min: 4, max: 64 },
    limits: {
      ...dawnDesktop,
      maxStorageBufferBindingSize: lastBelow4GiB,
      maxStorageBuffersPerShaderStage: 10,
    },
    memory: 11 * gigabyte,
  },
  /** Snapdragon X's Adreno X1-85 on Direct3D 12, memory shared with the system. (c) */
  "qualcomm": {
    host: "deno",
    adapter: gpu("20803", "", "Qualcomm(R) Adreno(TM) X1-85 GPU", 64),
    subgroups: { min: 64, max: 128 },
    limits: wgpuDesktop,
  },
  /** Adreno 7xx in Chrome on Android. (b, d) */
  "qualcomm-browser": {
    host: "browser",
    adapter: gpu("qualcomm", "adreno-7xx", "", 64),
    subgroups: { min: 64, max: 128 },
    limits: {
      ...webgpuDefaults,
      maxStorageBuffersPerShaderStage: 10,
      maxTextureDimension2D: 16384,
      maxComputeWorkgroupStorageSize: 32768,
      maxComputeInvocationsPerWorkgroup: 1024,
      maxComputeWorkgroupSizeX: 1024,
      maxComputeWorkgroupSizeY: 1024,
    },
  },
  /** Mali-G610, as boards with an RK3588 have it. (c, d) */
  "arm": {
    host: "deno",
    adapter: gpu("5045", "", "Mali-G610", 16),
    subgroups: { min: 16, max: 16 },
    limits: {
      ...webgpuDefaults,
      maxBufferSize: 2 ** 31 - 1,
      maxStorageBuffersPerShaderStage: 16,
      maxComputeWorkgroupStorageSize: 32768,
      maxComputeInvocationsPerWorkgroup: 512,
      maxComputeWorkgroupSizeX: 512,
      maxComputeWorkgroupSizeY: 512,
    },
  },
  /** Mali-G710 in Chrome on a Pixel 7: bindings of 128 MiB (github.com/mlc-ai/web-llm/issues/209). */
  "arm-browser": {
    host: "browser",
    adapter: gpu("arm", "valhall", "", 16),
    subgroups: { min: 16, max: 16 },
    limits: { ...webgpuDefaults, maxComputeWorkgroupStorageSize: 32768 },
  },
  /** Any GPU in a browser that offers no more than it must. (a) */
  "browser-default": {
    host: "browser",
    adapter: { ...gpu("", "", "", 4), shaderF16: false },
    subgroups: { min: 4, max: 128 },
    limits: webgpuDefaults,
  },
  /** Mesa 22.3's software driver, LLVM 15. (e) */
  "llvmpipe": {
    host: "deno",
    adapter: {
      vendor: "65541",
      architecture: "",
      description: "llvmpipe (LLVM 15.0.6, 256 bits)",
      subgroupSize: 8,
      isSoftware: true,
      shaderF16: true,
    },
    subgroups: { min: 8, max: 8 },
    limits: {
      ...webgpuDefaults,
      maxBufferSize: 2 ** 31 - 1,
      maxStorageBuffersPerShaderStage: 32,
      maxTextureDimension2D: 16384,
      maxComputeWorkgroupStorageSize: 32768,
      maxComputeInvocationsPerWorkgroup: 1024,
      maxComputeWorkgroupSizeX: 1024,
      maxComputeWorkgroupSizeY: 1024,
    },
  },
  /** Chromium 156's software adapter. (e) */
  "swiftshader": {
    host: "browser",
    adapter: {
      vendor: "google",
      architecture: "swiftshader",
      description: "",
      subgroupSize: 4,
      isSoftware: true,
      shaderF16: false,
    },
    subgroups: { min: 4, max: 4 },
    limits: {
      ...webgpuDefaults,
      maxBufferSize: 2 ** 30,
      maxStorageBufferBindingSize: 2 ** 30,
      maxStorageBuffersPerShaderStage: 10,
      maxComputeWorkgroupStorageSize: 32768,
    },
  },
} satisfies Record<string, AdapterProfile>;

export type ProfileName = keyof typeof profiles;
export const adapterProfiles: Readonly<Record<ProfileName, AdapterProfile>> = profiles;

/** What a dry device is made like; without a profile, a GPU of no name and the usual limits. */
export function asDevice(
  profile?: AdapterProfile,
): { limits: GPUSupportedLimits; adapter: AdapterSummary } {
  const { limits, adapter } = profile ??
    { limits: wgpuDesktop, adapter: gpu("", "", "no device", 32) };
  return { limits: limits as unknown as GPUSupportedLimits, adapter };
}
