/** How each kind of network becomes a component on our own kernels. */
import type { Gpu } from "../../gpu/device.ts";
import type { NetworkKind, NetworkKinds } from "../../models/sd3/networks.ts";
import type { WeightPlan } from "../../weights/plan.ts";
import { WgslClip, WgslDecoder, WgslEncoder, WgslT5, WgslTransformer } from "./components.ts";

interface Maker<Kind extends NetworkKind = NetworkKind> {
  /** The component owns the network and its weights. */
  make(
    gpu: Gpu,
    network: NetworkKinds[Kind]["network"],
    weights: WeightPlan,
  ): NetworkKinds[Kind]["component"];
}

export const makers: { readonly [Kind in NetworkKind]: Maker<Kind> } = {
  clip: { make: (gpu, network, weights) => new WgslClip(gpu, network, weights) },
  t5: { make: (gpu, network, weights) => new WgslT5(gpu, network, weights) },
  transformer: { make: (gpu, network, weights) => new WgslTransformer(gpu, network, weights) },
  decoder: { make: (gpu, network, weights) => new WgslDecoder(gpu, network, weights) },
  encoder: { make: (gpu, network, weights) => new WgslEncoder(gpu, network, weights) },
};

export function makeComponent(
  gpu: Gpu,
  kind: NetworkKind,
  network: NetworkKinds[NetworkKind]["network"],
  weights: WeightPlan,
): NetworkKinds[NetworkKind]["component"] {
  const maker: Maker = makers[kind];
  return maker.make(gpu, network, weights);
}
