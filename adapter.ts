/**
 * Makes sure that Deno finds a WebGPU adapter, before anybody asks for one: sets what the drivers
 * read from the environment, and on Linux offers to install Mesa's software Vulkan driver.
 */

export interface AdapterSetup {
  /** SIMD width that Mesa's llvmpipe was asked to compile for, if it was. */
  readonly vectorBits?: number;
}

/**
 * Sets environment variables for the Vulkan drivers. Must run before the first `requestAdapter()`,
 * whose driver reads them once; values that the user set are kept.
 */
export function prepareAdapter(): AdapterSetup {
  // wgpu prints an error line where this is unset; nothing is written there for compute.
  setDefault("XDG_RUNTIME_DIR", "/tmp");
  if (Deno.build.os !== "linux" || !hasAvx512()) return {};
  setDefault("LP_NATIVE_VECTOR_WIDTH", "512");
  const vectorBits = Number(Deno.env.get("LP_NATIVE_VECTOR_WIDTH"));
  if (vectorBits === 512 && !Deno.env.has("MESA_SHADER_CACHE_DIR")) {
    // Mesa does not tell code for other widths apart in its cache.
    const cache = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME") ?? "/tmp"}/.cache`;
    Deno.env.set("MESA_SHADER_CACHE_DIR", `${cache}/mesa_shader_cache_512`);
  }
  return { vectorBits };
}

function setDefault(name: string, value: string): void {
  if (!Deno.env.has(name)) Deno.env.set(name, value);
}

function hasAvx512(): boolean {
  try {
    return Deno.readTextFileSync("/proc/cpuinfo").includes("avx512f");
  } catch {
    return false;
  }
}
