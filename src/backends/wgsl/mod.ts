/** How each kind of network becomes a component on our own kernels. */
import type { Gpu } from "../../gpu/device.ts";
import type { NetworkKind, NetworkKinds } from "../../models/sd3/networks.ts";
import type { DeclaredWeights } from "../../weights/declared.ts";
import { wgslClip, wgslDecoder, wgslEncoder, wgslT5 } from "./components.ts";
import { WgslTransformer } from "./transformer.ts";

interface Maker<Kind extends NetworkKind = NetworkKind> {
  /** The component owns the network and its weights. */
  make(
    gpu: Gpu,
    network: NetworkKinds[Kind]["network"],
    weights: DeclaredWeights,
  ): NetworkKinds[Kind]["component"];
}

const makers: { readonly [Kind in NetworkKind]: Maker<Kind> } = {
  clip: { make: wgslClip },
  t5: { make: wgslT5 },
  transformer: { make: (gpu, network, weights) => new WgslTransformer(gpu, network, weights) },
  decoder: { make: wgslDecoder },
  encoder: { make: wgslEncoder },
};

export function makeComponent(
  gpu: Gpu,
  kind: NetworkKind,
  network: NetworkKinds[NetworkKind]["network"],
  weights: DeclaredWeights,
): NetworkKinds[NetworkKind]["component"] {
  const maker: Maker = makers[kind];
  return maker.make(gpu, network, weights);
}
