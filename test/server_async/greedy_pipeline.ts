/** A pipeline that misbehaves, for the tests of what keeps its requests apart. */
import { retrieveTimesteps } from "../../src/server_async/async_scheduler.ts";
import { FlowMatchEulerDiscreteScheduler } from "../../src/schedulers/flow_match_euler.ts";

export const pause = (ms = 0) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export interface Request {
  readonly prompt: string;
  readonly numInferenceSteps?: number;
  readonly sigmas?: readonly number[];
}

export class SlowTokenizer {
  running = 0;
  most = 0;
  readonly modelMaxLength = 8;

  async encode(text: string) {
    this.most = Math.max(this.most, ++this.running);
    await pause(1);
    this.running--;
    return Array.from(text, (char) => char.charCodeAt(0));
  }
}

export class GPUTensor {
  readonly buffer = { bytes: new Uint8Array(4) };
  destroyed = false;
  destroy() {
    this.destroyed = true;
  }
}

/** A pipeline that changes everything it can reach while it runs, and yields between steps. */
export class Greedy {
  scheduler: FlowMatchEulerDiscreteScheduler = new FlowMatchEulerDiscreteScheduler({ shift: 3 });
  transformer = { weights: new Float32Array(64).fill(1), calls: new GPUTensor() };
  tokenizer = new SlowTokenizer();
  components: Record<string, unknown> = {
    transformer: this.transformer,
    tokenizer: this.tokenizer,
  };
  latents = new Float32Array(4);
  history: { step: number }[] = [];
  options = new Map<string, string[]>([["words", []]]);
  tags = new Set(["base"]);
  nested: { deep: { list: number[] } } = { deep: { list: [0] } };
  bytes = new Uint8ClampedArray([250]);
  wide = new Float64Array(1001);
  tensor = new GPUTensor();
  lastSeed = 0;
  private hidden = [1];
  views: unknown[] = Object.freeze([]) as unknown as unknown[];

  get size() {
    return this.latents.length;
  }

  get record() {
    return this.hidden;
  }

  set record(value: number[]) {
    this.hidden = value;
  }

  async generate(request: Request, { onStep, signal }: {
    readonly onStep?: (step: number) => void;
    readonly signal?: AbortSignal;
  } = {}) {
    const ids = await this.tokenizer.encode(request.prompt);
    retrieveTimesteps(this.scheduler, { numInferenceSteps: request.numInferenceSteps ?? 3 });
    this.lastSeed = ids.length;
    this.latents.fill(1);
    for (const timestep of this.scheduler.timesteps) {
      await pause();
      signal?.throwIfAborted();
      if (request.prompt === "fail") throw new Error("failed on purpose");
      this.latents = this.scheduler.step(this.latents, timestep, this.latents) as never;
      this.history.push({ step: this.scheduler.stepIndex! });
      this.options.get("words")!.push(request.prompt);
      this.tags.add(request.prompt);
      this.nested.deep.list.push(timestep);
      this.bytes[0]!--;
      this.record.push(timestep);
      onStep?.(this.scheduler.stepIndex!);
    }
    return {
      view: this as Greedy,
      ids,
      latents: [...this.latents],
      steps: this.history.length,
      words: this.options.get("words"),
      record: this.record.length,
    };
  }
}
