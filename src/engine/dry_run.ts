/** What a request would do, without a GPU: parameters, token ids, schedule, memory. */
import type { FamilyChoice } from "../gpu/adapter.ts";
import type { DeviceModel } from "../gpu/dry_device.ts";
import { type AdapterProfile, asDevice } from "../gpu/profiles.ts";
import type { WeightType } from "../weights/weight_type.ts";
import type { FileSource } from "../weights/source.ts";
import { MemoryPlanner, type PlanOptions } from "./memory_planner.ts";
import { chooseBackends, inspectDirectory } from "../backends/choice.ts";
import { describeModel } from "../models/mod.ts";
import type { ModelDescription } from "../models/sd3/describe.ts";
import { tokenize } from "../models/sd3/tokenize.ts";
import { toJson } from "../requests/json.ts";
import { defaultRequestLimits } from "../requests/model_info.ts";
import { resolveRequest } from "../requests/request.ts";
import { scheduleSteps } from "../pipeline/schedule.ts";
import type { GenerateRequest, ResolvedRequest } from "../requests/types.ts";

export interface DryRunOptions {
  readonly weightType?: WeightType | undefined;
  /** The adapter to plan for; default: limits as GPUs offer them, and no bound to memory. */
  readonly profile?: AdapterProfile | undefined;
  /** Which family of kernels would run. Default: `auto`, the one made for the adapter. */
  readonly kernels?: FamilyChoice | undefined;
}

/**
 * A plain object for JSON; see the README for its fields. What does not fit the adapter is planned
 * all the same, and `fits` says so.
 *
 * @throws {ConfigError} where there is no such model
 * @throws {WeightsError} where its files are not its own
 * @throws {InvalidRequestError} where it takes no such request
 */
export async function dryRun(
  source: FileSource,
  request: GenerateRequest,
  { weightType = "auto", profile, kernels }: DryRunOptions = {},
) {
  const model = await describeModel(source);
  const resolved = resolveRequest(request, { model: model.info, limits: defaultRequestLimits });
  const { maxSequenceLength } = resolved;
  const tokenized = async (triple: readonly [string, string, string]) =>
    await tokenize(model.tokenizers, triple, maxSequenceLength);
  const ids = ({ tokens }: Awaited<ReturnType<typeof tokenized>>) => ({
    clip_l: [...tokens.clipL],
    clip_g: [...tokens.clipG],
    t5: [...tokens.t5],
  });
  const prompt = await tokenized([resolved.prompt, resolved.prompt2, resolved.prompt3]);
  const negative = await tokenized([
    resolved.negativePrompt,
    resolved.negativePrompt2,
    resolved.negativePrompt3,
  ]);
  const steps = scheduleSteps(model, resolved);
  const memory = await planned(model, resolved, { steps, weightType, profile, kernels });
  return {
    model: model.info.name,
    ...(model.info.variant && { variant: model.info.variant }),
    weight_type: weightType,
    parameters: toJson(resolved),
    seeds: Array.from({ length: resolved.numImagesPerPrompt }, (_, k) => resolved.seed + k),
    tokens: ids(prompt),
    negative_tokens: ids(negative),
    truncated: [
      ...prompt.truncated.map((cut) => ({ ...cut, field: "prompt" })),
      ...negative.truncated.map((cut) => ({ ...cut, field: "negative_prompt" })),
    ],
    timesteps: steps.map(({ timestep }) => timestep),
    sigmas: [...steps.map(({ sigma }) => sigma), steps.at(-1)!.nextSigma],
    ...memory,
  };
}

/** Bytes by what holds them, and whether the adapter takes them. */
async function planned(
  model: ModelDescription,
  request: ResolvedRequest,
  { steps, weightType, profile, kernels = "auto" }: DryRunOptions & Pick<PlanOptions, "steps">,
) {
  const backends = chooseBackends(await inspectDirectory(model.source), "auto");
  const plan = async (like: DeviceModel) => {
    const planner = await MemoryPlanner.open(model, like, { weightType, backends });
    const plan = await planner.plan(request, {
      maxBatch: request.numImagesPerPrompt,
      steps,
    });
    const { weights } = planner;
    const arena = planner.arenaWith(plan);
    const total = planner.baseWith(plan) + plan.share;
    const workspace = total - weights - arena - plan.share;
    return { weights, arena, workspace, request: plan.share, total };
  };
  const device = { ...asDevice(profile), ...(kernels !== "auto" && { family: kernels }) };
  const available = profile?.memory ?? null;
  try {
    const memory = await plan(device);
    const fits = available === null || memory.total <= available;
    const reason = fits ? null : `${memory.total} bytes are more than the adapter's ${available}`;
    return { memory: { ...memory, available }, fits, reason };
  } catch (error) {
    const limits = {
      ...device.limits,
      maxBufferSize: 2 ** 52,
      maxStorageBufferBindingSize: 2 ** 52,
    };
    // What is wrong whatever the limits are is thrown once more.
    const memory = await plan({ ...device, limits });
    return { memory: { ...memory, available }, fits: false, reason: (error as Error).message };
  }
}
