/** What an adapter says of itself, and which of the kernels that compute the same are made for it. */

export interface AdapterSummary {
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  /** Invocations that run as one on this adapter, where it says so. */
  readonly subgroupSize?: number | undefined;
  /** A CPU pretending to be a GPU: other kernels win there. */
  readonly isSoftware: boolean;
  /** Whether the device computes with f16. */
  readonly shaderF16?: boolean | undefined;
}

/**
 * Which kernels an op takes where some are made for GPUs and others for software adapters, which run
 * invocations as SIMD lanes of a CPU.
 */
export type KernelFamily = "gpu" | "software";

/** What may be asked for: the adapter's own family (`auto`), or one whatever the adapter. */
export const familyChoices = ["auto", "gpu", "software"] as const;
export type FamilyChoice = (typeof familyChoices)[number];

export function ownFamily({ isSoftware }: AdapterSummary): KernelFamily {
  return isSoftware ? "software" : "gpu";
}

export function summarise(info: GPUAdapterInfo, shaderF16: boolean): AdapterSummary {
  const isSoftware = (info as { isFallbackAdapter?: boolean }).isFallbackAdapter === true ||
    /llvmpipe|lavapipe|swiftshader|software/i.test(
      `${info.vendor} ${info.architecture} ${info.description}`,
    );
  return {
    vendor: info.vendor,
    architecture: info.architecture,
    description: info.description,
    subgroupSize: (info as { subgroupMinSize?: number }).subgroupMinSize || undefined,
    isSoftware,
    shaderF16,
  };
}
