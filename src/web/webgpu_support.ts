/** Says why this browser cannot compute on a GPU, or undefined when it can. */
export async function webgpuProblem(): Promise<string | undefined> {
  if (!globalThis.isSecureContext) {
    return "Browsers offer WebGPU on secure pages only: open this page over https, or on localhost.";
  }
  if (!("gpu" in navigator)) {
    return "This browser has no WebGPU. Current Chrome, Edge, Firefox and Safari have it on " +
      "most systems.";
  }
  const adapter = await navigator.gpu.requestAdapter();
  if (adapter === null) {
    return "This browser knows WebGPU but offers no GPU. It may be blocked or switched off: see " +
      "chrome://gpu or about:support.";
  }
  return undefined;
}
