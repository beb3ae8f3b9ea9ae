/** What a request would do, without a GPU: parameters, token ids, schedule, memory. */
import type { WeightType } from "../weights/weight_type.ts";
import type { FileSource } from "../weights/source.ts";
import { MemoryPlanner } from "./memory_planner.ts";
import { chooseBackends, inspectDirectory } from "../backends/choice.ts";
import { describeModel } from "../models/mod.ts";
import { tokenize } from "../models/sd3/tokenize.ts";
import { toJson } from "../requests/json.ts";
import { defaultRequestLimits } from "../requests/model_info.ts";
import { resolveRequest } from "../requests/request.ts";
import { scheduleSteps } from "../pipeline/schedule.ts";
import type { GenerateRequest } from "../requests/types.ts";

/** A plain object for JSON; see the README for its fields. */
export async function dryRun(
  source: FileSource,
  request: GenerateRequest,
  weightType: WeightType = "auto",
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
  const backends = chooseBackends(await inspectDirectory(source), "auto");
  const planner = await MemoryPlanner.open(model, undefined, { weightType, backends });
  const plan = await planner.plan(resolved, { maxBatch: resolved.numImagesPerPrompt, steps });
  const { weights } = planner;
  const { share } = plan;
  const arena = planner.arenaWith(plan);
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
    memory: { weights, arena, request: share, total: weights + arena + share },
  };
}
