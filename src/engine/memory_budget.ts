/** A model that could not make its smallest image within the budget is refused before it is loaded. */
import type { PlacementOptions } from "../backends/load.ts";
import type { Gpu } from "../gpu/device.ts";
import { OutOfDeviceMemoryError } from "../gpu/errors.ts";
import type { ModelDescription } from "../models/sd3/describe.ts";
import { InvalidRequestError } from "../requests/errors.ts";
import { defaultRequestLimits } from "../requests/model_info.ts";
import { resolveRequest } from "../requests/request.ts";
import { weightTypes } from "../weights/weight_type.ts";
import { MemoryPlanner } from "./memory_planner.ts";

export interface BudgetOptions extends PlacementOptions {
  readonly decodeBytes?: number | undefined;
  /** Bytes. */
  readonly memoryBudget?: number | undefined;
}

/**
 * As `MemoryPlanner.open`, within a budget.
 * @throws {OutOfDeviceMemoryError} saying what would fit
 */
export async function openPlanner(
  model: ModelDescription,
  gpu: Gpu,
  { memoryBudget: budget = Infinity, ...options }: BudgetOptions,
): Promise<MemoryPlanner> {
  const planner = await MemoryPlanner.open(model, gpu, options);
  if (budget === Infinity) return planner;
  const needed = await leastBytes(planner, model);
  if (needed <= budget) return planner;
  const { weightType: current = "auto" } = options;
  const others: { readonly weightType: string; readonly bytes: number }[] = [];
  for (const weightType of weightTypes.filter((type) => type !== current)) {
    const other = await MemoryPlanner.open(model, gpu, { ...options, weightType });
    const bytes = await leastBytes(other, model);
    if (bytes < needed) others.push({ weightType, bytes });
  }
  const fitting = others.filter(({ bytes }) => bytes <= budget);
  const list = (fitting.length > 0 ? fitting : others)
    .map(({ weightType, bytes }) => `${weightType} (${inWords(bytes)})`).join(" or ");
  const advice = fitting.length > 0
    ? `, or take weights ${list}`
    : list && `; more than the budget are also weights ${list}`;
  throw new OutOfDeviceMemoryError(
    `${model.info.name} needs ${inWords(needed)} of GPU memory with weights ${current}, for its ` +
      `smallest image, and the budget is ${inWords(budget, Math.floor)}: give it more${advice}`,
  );
}

/** Bytes that the model takes while it makes the smallest image there is. */
async function leastBytes(planner: MemoryPlanner, { info }: ModelDescription): Promise<number> {
  const request = resolveRequest({
    prompt: "",
    height: info.sizeMultiple,
    width: info.sizeMultiple,
    numInferenceSteps: 1,
    guidanceScale: 1,
    maxSequenceLength: 1,
  }, { model: info, limits: defaultRequestLimits });
  try {
    const plan = await planner.plan(request, { maxBatch: 1 });
    return planner.baseWith(plan) + plan.share;
  } catch (error) {
    // What the device cannot work on is each request's own matter.
    if (error instanceof InvalidRequestError) return planner.weights;
    throw error;
  }
}

function inWords(bytes: number, round = Math.ceil): string {
  const [unit, size] = bytes < 2 ** 30 ? ["MiB", 2 ** 20] as const : ["GiB", 2 ** 30] as const;
  return `${round(10 * bytes / size) / 10} ${unit}`;
}
