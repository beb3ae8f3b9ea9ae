/** Structured logs: one JSON object a line on standard output, for people's `jq` and machines. */

/** `event` says what happened; the other fields are flat and short. */
export interface LogEntry {
  readonly level: "info" | "warn" | "error";
  readonly event: string;
  readonly [field: string]: unknown;
}

export type Logger = (entry: LogEntry) => void;

/**
 * A logger that adds the time and writes lines.
 *
 * @param write takes one whole line with its newline; standard output if absent
 */
export function createLogger(write: (line: string) => void = writeStdout): Logger {
  return (entry) => write(`${JSON.stringify({ time: new Date().toISOString(), ...entry })}\n`);
}

/** The fields that describe an error in a log line. */
export function errorFields(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { error: String(error) };
  return { error: error.message, errorName: error.name, stack: error.stack };
}

const encoder = new TextEncoder();

function writeStdout(line: string): void {
  const bytes = encoder.encode(line);
  try {
    for (let written = 0; written < bytes.length;) {
      written += Deno.stdout.writeSync(bytes.subarray(written));
    }
  } catch (error) {
    // Nobody reads the log any more (a closed pipe); that is no reason to stop serving.
    if (!(error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.WouldBlock)) {
      throw error;
    }
  }
}
