/** What ops ask and answer where several kernels compute the same thing; see `Tuner`. */
import type { Kernel, Specialisation } from "./kernel.ts";

export interface Candidate {
  readonly name: string;
  readonly kernel: Kernel;
  readonly specialise: Specialisation;
}

/** Which kernel an op takes for operands of one shape; `R` is the recorder that a trial is made on. */
export interface Question<C extends Candidate = Candidate, R = unknown> {
  /** The op, the weight's shape and type, and the tokens or pixels of one sample: never the batch. */
  readonly key: string;
  /** The first is the one without measuring; no other needs more memory than it. */
  readonly candidates: readonly C[];
  /** Multiply-adds for one sample. What is most work is measured first. */
  readonly work: number;
  /** Records the op for one sample, with operands of `rec` that hold anything. */
  record(rec: R, candidate: C): void;
}

/** A question that a recording could not answer. */
export interface OpenQuestion {
  readonly question: Question;
  /** How often the recording asked it. */
  readonly count: number;
}

/** Who answers. */
export interface KernelChooser {
  /** The name of the candidate to take, if that is decided. */
  known(question: Question): string | undefined;
  /** A program has taken the first candidates: that is how it stays on this device. */
  keep(open: readonly OpenQuestion[]): void;
  /** Decides. Resolves with whether anything but a first candidate was chosen. */
  answer(open: readonly OpenQuestion[]): Promise<boolean>;
}

/** Takes the first candidates, always. */
export const untuned: KernelChooser = {
  known: () => undefined,
  keep: () => {},
  answer: () => Promise.resolve(false),
};

/** What another chooser has decided, deciding nothing: for devices that memory is planned on. */
export function decidedBy(chooser: KernelChooser): KernelChooser {
  return { ...untuned, known: (question) => chooser.known(question) };
}
