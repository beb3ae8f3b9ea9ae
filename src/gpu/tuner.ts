/**
 * Chooses kernels by timing them on the device. A recording that meets an unknown question is made
 * with the first candidate and tells; the question is then measured, and the recording made again.
 * What one program was made with never changes while the device lives, so that a request which is
 * repeated gives the same bytes; what was measured is kept in a cache for later processes.
 */
import { Mutex } from "async-mutex";
import { DeviceLostError } from "./errors.ts";
import type { Candidate, KernelChooser, OpenQuestion, Question } from "./tuning.ts";
import { questionHash, type TuningCache } from "./tuning_cache.ts";

/** One candidate, compiled. */
export interface Trial {
  /** Seconds of one run. */
  run(): Promise<number>;
  dispose(): void;
}

/** Makes trials; `DeviceBench` makes them on a device. Rejects for a kernel that does not compile. */
export interface Bench {
  open(question: Question, candidate: Candidate): Promise<Trial>;
}

export interface KernelChoice {
  readonly key: string;
  readonly choice: string;
  /** "default": not measured, since the time was used up. */
  readonly source: "measured" | "cached" | "default";
  /** Best time of each candidate, where measured. */
  readonly milliseconds: Readonly<Record<string, number>>;
}

export interface TunerOptions {
  readonly bench: Bench;
  readonly cache: TuningCache;
  /**
   * Seconds that measuring may add, compilation included. Not counted is the compilation of first
   * candidates, which would be due without measuring, too.
   */
  readonly seconds: number;
  /** Hears what was measured. */
  readonly onChoice?: ((choice: KernelChoice) => void) | undefined;
  /** Milliseconds. */
  readonly now?: (() => number) | undefined;
}

/** Candidates take turns, so that a machine that slows down slows all of them. */
const rounds = 3;
/** How much slower than the best a candidate may be to run another round. */
const hopeless = 1.3;
/** Another candidate must save more than this part of the first one's time. */
const worthwhile = 0.03;

interface Contender {
  readonly candidate: Candidate;
  readonly trial: Trial;
  best: number;
}

export class Tuner implements KernelChooser {
  readonly #options: TunerOptions;
  readonly #now: () => number;
  readonly #choices = new Map<string, KernelChoice>();
  readonly #turn = new Mutex();
  /** Kernels that were compiled for a trial. */
  readonly #compiled = new Set<string>();
  /** Milliseconds of the longest compilation: what another one may take. */
  #longest = 0;
  #spent = 0;
  #speed = 0;

  constructor(options: TunerOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** All that was decided so far, in that order. */
  get choices(): readonly KernelChoice[] {
    return [...this.#choices.values()];
  }

  /** Seconds spent on measuring. */
  get spent(): number {
    return this.#spent / 1000;
  }

  /** Most multiply-adds a second of any kernel chosen by its time; 0 before there is one. */
  get speed(): number {
    return this.#speed;
  }

  known(question: Question): string | undefined {
    const { key, candidates } = question;
    const decided = this.#choices.get(key);
    if (decided) return decided.choice;
    const entry = this.#options.cache.kernels.get(key);
    if (!entry || entry.hash !== questionHash(question)) return undefined;
    const { choice, milliseconds } = entry;
    if (!candidates.some(({ name }) => name === choice)) return undefined;
    this.#decide(question, { key, choice, source: "cached", milliseconds });
    return choice;
  }

  keep(open: readonly OpenQuestion[]): void {
    for (const { question } of open) this.#decideDefault(question);
  }

  async answer(open: readonly OpenQuestion[]): Promise<boolean> {
    if (open.length === 0) return false;
    await this.#turn.runExclusive(() => this.#measureAll(open));
    return open.some(({ question }) => this.known(question) !== question.candidates[0]!.name);
  }

  async #measureAll(open: readonly OpenQuestion[]): Promise<void> {
    const cost = ({ question, count }: OpenQuestion) => question.work * count;
    let measured = false;
    for (const { question } of open.toSorted((a, b) => cost(b) - cost(a))) {
      // Another recording may have asked the same meanwhile.
      if (this.known(question) !== undefined) continue;
      const milliseconds = await this.#measure(question);
      if (milliseconds && !this.#choices.has(question.key)) {
        this.#decideMeasured(question, milliseconds);
        measured = true;
      }
      this.#decideDefault(question);
    }
    if (measured) await this.#options.cache.save();
  }

  /** Best times by candidate, or undefined if the time ran out before all had a turn. */
  async #measure(question: Question): Promise<Record<string, number> | undefined> {
    const contenders: Contender[] = [];
    const [first, ...others] = question.candidates;
    let started = this.#now();
    const left = () => 1000 * this.#options.seconds - this.#spent - (this.#now() - started);
    const isNew = (candidate: Candidate) => !this.#compiled.has(formOf(candidate));
    try {
      for (const candidate of question.candidates) {
        // Once begun, compiling cannot be stopped.
        if (left() <= 0 || (others.some(isNew) && left() < this.#longest)) return undefined;
        const before = this.#now();
        await unlessBroken(async () => {
          const trial = await this.#options.bench.open(question, candidate);
          contenders.push({ candidate, trial, best: Infinity });
        });
        if (!isNew(candidate)) continue;
        const took = this.#now() - before;
        this.#longest = Math.max(this.#longest, took);
        this.#compiled.add(formOf(candidate));
        if (candidate === first) started += took;
      }
      let running = contenders;
      for (let round = 0; round < rounds; round++) {
        for (const contender of running) {
          if (left() <= 0) return resultOf(contenders);
          await unlessBroken(async () => {
            contender.best = Math.min(contender.best, await contender.trial.run());
          });
        }
        const best = Math.min(...running.map((contender) => contender.best));
        running = running.filter((contender) => contender.best <= hopeless * best);
        if (running.length < 2) break;
      }
      return resultOf(contenders.filter((contender) => contender.best < Infinity));
    } finally {
      for (const { trial } of contenders) trial.dispose();
      this.#spent += this.#now() - started;
    }
  }

  #decideMeasured(question: Question, milliseconds: Record<string, number>): void {
    const { key, candidates } = question;
    const first = milliseconds[candidates[0]!.name] ?? Infinity;
    const [fastest, time] = Object.entries(milliseconds).reduce((a, b) => b[1] < a[1] ? b : a);
    const choice = time < (1 - worthwhile) * first ? fastest : candidates[0]!.name;
    const decision = { key, choice, source: "measured" as const, milliseconds };
    this.#decide(question, decision);
    this.#options.cache.kernels.set(key, { hash: questionHash(question), choice, milliseconds });
    this.#options.onChoice?.(decision);
  }

  #decideDefault(question: Question): void {
    const { key, candidates } = question;
    if (this.known(question) !== undefined) return;
    const choice = candidates[0]!.name;
    this.#decide(question, { key, choice, source: "default", milliseconds: {} });
  }

  #decide({ work }: Question, decision: KernelChoice): void {
    this.#choices.set(decision.key, decision);
    const time = decision.milliseconds[decision.choice];
    if (time) this.#speed = Math.max(this.#speed, 1000 * work / time);
  }
}

function formOf({ kernel, specialise }: Candidate): string {
  return JSON.stringify([kernel.name, specialise]);
}

/** Milliseconds by candidate, unless some have none. */
function resultOf(contenders: readonly Contender[]): Record<string, number> | undefined {
  if (contenders.length === 0 || contenders.some(({ best }) => best === Infinity)) return undefined;
  return Object.fromEntries(contenders.map(({ candidate, best }) => [candidate.name, 1000 * best]));
}

/** What this device cannot run is no candidate. */
async function unlessBroken(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (error instanceof DeviceLostError) throw error;
  }
}
