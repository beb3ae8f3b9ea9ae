/** What can be wrong with a model's files. */

/** The model has no such file. */
export class FileNotFoundError extends Error {
  override readonly name = "FileNotFoundError";
  constructor(readonly source: string, readonly path: string) {
    super(`${source} has no file ${path}`);
  }
}

/** The file is there but its bytes could not be had. */
export class FileReadError extends Error {
  override readonly name = "FileReadError";
  constructor(readonly source: string, readonly path: string, reason: string) {
    super(`${source}: ${path}: ${reason}`);
  }
}

/** What can be wrong; each list holds one readable line for each tensor or file concerned. */
export interface WeightsProblems {
  /** Files that are damaged, cut short, absent, or do not fit together. */
  readonly corrupt?: readonly string[];
  /** Tensors that the model needs and the checkpoint lacks. */
  readonly missing?: readonly string[];
  /** Tensors that the checkpoint holds and the model does not know. */
  readonly extra?: readonly string[];
  readonly misshapen?: readonly string[];
  /** Tensors whose stored type cannot serve as this parameter. */
  readonly wrongType?: readonly string[];
  /** Tensors that this device cannot hold. */
  readonly tooLarge?: readonly string[];
}

const headings: Record<keyof WeightsProblems, string> = {
  corrupt: "unreadable",
  missing: "missing",
  extra: "not part of this model",
  misshapen: "of another shape",
  wrongType: "of a type that cannot be used",
  tooLarge: "too large for this device",
};

const kinds = Object.keys(headings) as (keyof WeightsProblems)[];

/** A checkpoint that cannot be used. `problems` and the message list all that was found. */
export class WeightsError extends Error {
  override readonly name = "WeightsError";
  constructor(readonly subject: string, readonly problems: WeightsProblems) {
    super(describe(subject, problems));
  }
}

function describe(subject: string, problems: WeightsProblems): string {
  const sections = kinds.flatMap((kind) => {
    const lines = problems[kind] ?? [];
    if (lines.length === 0) return [];
    return [`  ${headings[kind]} (${lines.length}):`, ...lines.map((line) => `    ${line}`)];
  });
  return [`The weights of ${subject} cannot be used:`, ...sections].join("\n");
}

/** Gathers problems while a check goes on, so that all of them are reported together. */
export class ProblemList {
  readonly #problems: { -readonly [K in keyof WeightsProblems]?: string[] } = {};

  add(kind: keyof WeightsProblems, line: string): void {
    (this.#problems[kind] ??= []).push(line);
  }

  /** Takes over what `error` lists, or an absent file; any other error is thrown on. */
  absorb(error: unknown): void {
    if (error instanceof FileNotFoundError) return this.add("corrupt", error.message);
    if (!(error instanceof WeightsError)) throw error;
    for (const kind of kinds) {
      for (const line of error.problems[kind] ?? []) this.add(kind, line);
    }
  }

  /** @throws {WeightsError} if anything was added. */
  throwIfAny(subject: string): void {
    if (Object.keys(this.#problems).length > 0) throw new WeightsError(subject, this.#problems);
  }
}
