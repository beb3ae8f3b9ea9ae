/** The networks on our own kernels, as the pipeline's components. */
import type { Gpu } from "../../gpu/device.ts";
import type {
  ClipComponent,
  DecoderComponent,
  EncoderComponent,
  T5Component,
} from "../../models/sd3/components.ts";
import { largestPerLatent } from "../../models/sd3/configs.ts";
import type { ClipTextModel } from "../../models/sd3/text_encoders/clip.ts";
import type { T5Encoder } from "../../models/sd3/text_encoders/t5.ts";
import type { VaeDecoder } from "../../models/sd3/vae/decoder.ts";
import type { VaeEncoder } from "../../models/sd3/vae/encoder.ts";
import { Recorded } from "../../nn/recorded.ts";
import type { DeclaredWeights } from "../../weights/declared.ts";

/** Shapes kept recorded: of texts, of images. */
const kept = 4;

export function wgslClip(gpu: Gpu, model: ClipTextModel, weights: DeclaredWeights): ClipComponent {
  const network = new Recorded<"ids" | "pooling", "hidden" | "pooled">(gpu, {
    ...{ label: "clip", kept },
    build: (rec, { ids, pooling }, _, skip) => model.forward(rec, ids, pooling, skip),
  });
  return {
    hiddenSize: model.config.hidden_size,
    projectionDim: model.config.projection_dim,
    embed: (ids, out, skip) => {
      const pooling = Uint32Array.of(model.poolingIndex(ids));
      const given = {
        ids: { shape: [1, ids.length], data: ids },
        pooling: { shape: [1], data: pooling },
      };
      return network.run(given, out, skip);
    },
    ...disposing(network, weights),
  };
}

export function wgslT5(gpu: Gpu, model: T5Encoder, weights: DeclaredWeights): T5Component {
  const network = new Recorded<"ids", "hidden">(gpu, {
    ...{ label: "t5", kept },
    // The table of relative positions is made for one length.
    prepare: ({ ids: [, length] }) => model.relativeBias(gpu, length!),
    build: (rec, { ids }, bias) => ({ hidden: model.forward(rec, ids, bias!) }),
  });
  return {
    hiddenSize: model.config.d_model,
    embed: (ids, hidden) => network.run({ ids: { shape: [1, ids.length], data: ids } }, { hidden }),
    ...disposing(network, weights),
  };
}

export function wgslDecoder(
  gpu: Gpu,
  model: VaeDecoder,
  weights: DeclaredWeights,
): DecoderComponent {
  const network = new Recorded<"latents", "image">(gpu, {
    ...{ label: "decode", kept },
    build: (rec, { latents }) => ({ image: model.forward(rec, latents) }),
  });
  const widest = largestPerLatent(model.config);
  return {
    config: model.config,
    maxArea: Math.floor(gpu.limits.maxStorageBufferBindingSize / widest),
    bytesPerLatent: widest * (activationsAlive + Number(gpu.prefersTextures)),
    decode: (latents, image) => network.run({ latents }, { image }),
    ...disposing(network, weights),
  };
}

/**
 * Arena of a decode in its largest activations, without the copy in a texture that some devices
 * read; a test compares it with recorded decoders.
 */
const activationsAlive = 3.25;

export function wgslEncoder(
  gpu: Gpu,
  model: VaeEncoder,
  weights: DeclaredWeights,
): EncoderComponent {
  const network = new Recorded<"image", "moments">(gpu, {
    ...{ label: "encode", kept },
    build: (rec, { image }) => ({ moments: model.forward(rec, image) }),
  });
  return {
    config: model.config,
    encode: (image, moments) => network.run({ image }, { moments }),
    ...disposing(network, weights),
  };
}

/** Frees a network's programs and its weights. */
function disposing(network: { dispose(): void }, weights: DeclaredWeights) {
  return {
    dispose: () => {
      network.dispose();
      weights.dispose();
    },
  };
}
