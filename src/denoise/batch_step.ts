/**
 * One step of a batch of images as commands: which rows the prediction needs, what is copied in and
 * out, and each image's coefficients.
 */
import type { Gpu } from "../gpu/device.ts";
import { copyTensor } from "../gpu/program.ts";
import { rowsOf, type Tensor } from "../gpu/tensor.ts";
import type {
  PreparedText,
  RecordedStep,
  StepInputs,
  TransformerComponent,
} from "../models/sd3/components.ts";
import { packSums } from "../ops/guided_combination.ts";
import { type GuidedStepRecord, packSteps } from "../ops/guided_step.ts";
import { drawsNoise, isPlain, type Step as ScheduledStep } from "../schedulers/step.ts";
import type { ResolvedRequest } from "../requests/types.ts";

/** Skip-layer guidance as diffusers has it. */
export interface SkipLayerGuidance {
  /** Indices of the transformer blocks left out of the extra prediction, rising. */
  readonly layers: readonly number[];
  /** Weight of `(conditional - skipped)`. */
  readonly scale: number;
  /** Active while `step > start * steps`, as a fraction of the steps. */
  readonly start: number;
  /** Active while `step < stop * steps`. */
  readonly stop: number;
}

/** The four fields together; nothing where no blocks are skipped. */
export function skipLayerGuidance(request: ResolvedRequest): SkipLayerGuidance | undefined {
  const { skipGuidanceLayers: layers, skipLayerGuidanceScale: scale } = request;
  const { skipLayerGuidanceStart: start, skipLayerGuidanceStop: stop } = request;
  return layers && { layers, scale: scale!, start: start!, stop: stop! };
}

/** One image on its way: plain state of its request, moved forward by the loop. */
export interface ImageInFlight {
  /** f32 [1, C, h, w], owned by the request; holds the result in the end. */
  readonly latents: Tensor;
  readonly text: PreparedText;
  /** Absent without guidance. */
  readonly negativeText?: PreparedText | undefined;
  readonly guidanceScale: number;
  readonly skipLayerGuidance?: SkipLayerGuidance | undefined;
  /** Evaluations of the network; `step` below is one of them. */
  readonly steps: readonly ScheduledStep[];
  /** f32 [slots, C, h, w], owned by the request: what the scheduler keeps between steps. */
  readonly kept?: Tensor | undefined;
  /** Fresh noise for a step that adds some. */
  readonly drawNoise?: (() => Float32Array<ArrayBuffer>) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Where the latents after this step (counted from 1) are copied to, for a preview. */
  readonly snapshot?: ((step: number) => Tensor | undefined) | undefined;
  /** After each step, counted from 1, when the device has done it. A throw ends the image. */
  readonly onStep?: ((step: number) => void) | undefined;
}

/** An image and how far it is. */
export interface Progress {
  readonly image: ImageInFlight;
  /** Index of its next step. */
  readonly next: number;
  /** Drawn for the next step: kept until the step is submitted, so that a second try has the same. */
  noise?: Float32Array<ArrayBuffer> | undefined;
}

/** The next step of every image in `given`, all of which have one latent size and text length. */
export async function recordStep(
  gpu: Gpu,
  transformer: TransformerComponent,
  given: readonly Progress[],
): Promise<{ readonly rows: number; readonly commands: RecordedStep }> {
  // Images with noise or a history come last, and only they meet the kernel that knows of it.
  const plain = given.filter((member) => isPlain(current(member)));
  const combined = given.filter((member) => !isPlain(current(member)));
  const batch = [...plain, ...combined];
  const slots = Math.max(0, ...combined.map(({ image }) => image.kept?.shape[0] ?? 0));
  const [first] = batch;
  const { latents, text } = first!.image;
  const skip = skipLayers(first!);
  const { rows, skipRows, records } = layOut(batch, skip.length > 0);
  const step = await transformer.step({
    height: latents.shape[2]!,
    width: latents.shape[3]!,
    contextLength: text.context.shape[1]!,
    images: batch.length,
    combined: combined.length,
    slots,
    rows: rows.length,
    skipRows: skipRows.length,
    skipLayers: skip,
  });
  const writes: [Tensor, ArrayBufferView<ArrayBuffer>][] = [
    [step.inputs.timesteps, timesteps(rows)],
    [step.records, packSteps(records)],
  ];
  if (step.skipInputs) writes.push([step.skipInputs.timesteps, timesteps(skipRows)]);
  if (step.combined) writes.push([step.combined.sums, packSums(combined.map(current), slots)]);
  for (const [i, member] of combined.entries()) {
    if (!drawsNoise(current(member))) continue;
    member.noise ??= drawn(member.image);
    writes.push([rowsOf(step.combined!.noise, i), member.noise]);
  }
  /** What each image has in the step's tensors, beside what it owns. */
  const owned = batch.map(({ image }, i): [Tensor, Tensor] => [
    image.latents,
    rowsOf(step.images, i),
  ]);
  for (const [i, { image: { kept } }] of combined.entries()) {
    if (kept) owned.push([kept, rowsOf(step.combined!.kept!, i * slots, kept.shape[0])]);
  }
  const commands = await step.record({
    before: (encoder) => {
      fill(encoder, step.inputs, rows);
      if (step.skipInputs) fill(encoder, step.skipInputs, skipRows);
      for (const [own, shared] of owned) copyTensor(encoder, own, shared);
    },
    after: (encoder) => {
      for (const [own, shared] of owned) copyTensor(encoder, shared, own);
      for (const { image, next } of batch) {
        const snapshot = image.snapshot?.(next + 1);
        if (snapshot) copyTensor(encoder, image.latents, snapshot);
      }
    },
    write: () => {
      for (const [tensor, values] of writes) gpu.write(tensor, values);
    },
  });
  return { rows: rows.length + skipRows.length, commands };
}

function timesteps(rows: readonly Row[]): Float32Array<ArrayBuffer> {
  return new Float32Array(rows.map(({ member }) => current(member).timestep));
}

function fill(encoder: GPUCommandEncoder, inputs: StepInputs, rows: readonly Row[]): void {
  for (const [i, { member, text }] of rows.entries()) {
    copyTensor(encoder, member.image.latents, rowsOf(inputs.latents, i));
    copyTensor(encoder, text.context, rowsOf(inputs.context, i));
    copyTensor(encoder, text.pooled, rowsOf(inputs.pooled, i));
  }
}

/** One row of a prediction. */
interface Row {
  readonly member: Progress;
  readonly text: PreparedText;
}

interface Layout {
  readonly rows: readonly Row[];
  readonly skipRows: readonly Row[];
  readonly records: readonly GuidedStepRecord[];
}

/** Which rows a batch needs, and where each image finds its own. */
function layOut(batch: readonly Progress[], withSkip: boolean): Layout {
  const rows: Row[] = [];
  const places = batch.map((member) => {
    const { text, negativeText } = member.image;
    const conditional = rows.push({ member, text }) - 1;
    const unconditional = negativeText && rows.push({ member, text: negativeText }) - 1;
    return { conditional, unconditional };
  });
  const skipRows = withSkip ? batch.map((member) => ({ member, text: member.image.text })) : [];
  const records = batch.map((member, i) => {
    const { image } = member;
    const { next } = current(member);
    return {
      ...places[i]!,
      skipped: withSkip ? rows.length + i : undefined,
      guidance: image.guidanceScale,
      skipScale: image.skipLayerGuidance?.scale ?? 0,
      sample: next.sample,
      velocity: next.velocity,
    };
  });
  return { rows, skipRows, records };
}

function drawn({ drawNoise }: ImageInFlight): Float32Array<ArrayBuffer> {
  if (!drawNoise) throw new TypeError("A step adds noise, but its image draws none");
  return drawNoise();
}

function current({ image, next }: Progress): ScheduledStep {
  return image.steps[next]!;
}

/** Layers that the next step also predicts without; diffusers applies them under guidance only. */
export function skipLayers({ image, next }: Progress): readonly number[] {
  const { skipLayerGuidance: skip, negativeText, steps } = image;
  if (!skip || !negativeText) return [];
  const active = next > steps.length * skip.start && next < steps.length * skip.stop;
  return active ? skip.layers : [];
}
