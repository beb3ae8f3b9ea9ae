/** What `bench` and `bench:peers` share: options, the device, the adapter's limits, the report. */
// deno-lint-ignore-file no-console
import { Command } from "commander";
import { prepareAdapter } from "../../adapter.ts";
import { gpu } from "../gpu.ts";
import { type AdapterLimits, measureLimits } from "./adapter_limits.ts";
import { describeMachine, describeRow, type Report, type Row, toMarkdown } from "./report.ts";

export interface Session {
  readonly seconds: number;
  /** Whether `--only` lets this group through. */
  wants(group: string): boolean;
  add(row: Row): void;
  /** Prints and writes what the options ask for, and ends the process. */
  finish(): never;
}

interface Flags {
  readonly json?: string;
  readonly only?: string;
  readonly markdown: boolean;
  readonly seconds: number;
}

/** Reads the options, opens the device and measures what it can do at most. */
export async function openSession(
  task: string,
  groups: readonly string[],
): Promise<Session> {
  const command = new Command(`deno task ${task}`)
    .option("--json <file>", "write what was measured")
    .option("--only <names>", `some of ${groups.join(", ")}, by commas`)
    .option("--markdown", "print a table in Markdown", false)
    .option("--seconds <n>", "time for each contender of each computation", Number, 0.8)
    .parse(Deno.args, { from: "user" });
  const { json, only, markdown, seconds } = command.opts<Flags>();
  const selected = only?.split(",");
  const unknown = selected?.filter((name) => !groups.includes(name)) ?? [];
  if (unknown.length > 0) command.error(`there is no ${unknown}; there are ${groups.join(", ")}`);
  if (!(seconds > 0)) command.error("--seconds wants a number above 0");

  const load = Deno.loadavg()[0]!;
  const { description, vendor } = gpu.adapter;
  const rows: Row[] = [];
  const limits: AdapterLimits = await measureLimits(gpu, seconds);
  const report: Report = {
    machine: {
      adapter: description,
      vendor,
      vectorBits: prepareAdapter().vectorBits,
      processor: processor(),
      cores: navigator.hardwareConcurrency,
      runtime: `Deno ${Deno.version.deno}`,
      date: new Date().toISOString().slice(0, 16).replace("T", " ") + " UTC",
      load,
    },
    limits,
    rows,
  };
  // With --markdown the table alone goes to the standard output.
  const print = markdown ? console.error : console.log;
  print(describeMachine(report) + "\n");
  return {
    seconds,
    wants: (group) => selected?.includes(group) ?? true,
    add(row) {
      rows.push(row);
      print(describeRow(row, limits));
    },
    finish() {
      if (markdown) console.log(toMarkdown(report));
      if (json) Deno.writeTextFileSync(json, JSON.stringify(report, null, 2) + "\n");
      // Devices and runtimes hold the process open.
      Deno.exit(0);
    },
  };
}

function processor(): string {
  try {
    return /^model name\s*: (.*)$/m.exec(Deno.readTextFileSync("/proc/cpuinfo"))?.[1] ??
      Deno.build.arch;
  } catch {
    return Deno.build.arch;
  }
}
