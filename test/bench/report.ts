/** What a benchmark run measured, as text, Markdown and JSON. */
import type { AdapterLimits } from "./adapter_limits.ts";
import type { Time } from "./race.ts";

export interface Machine {
  readonly adapter: string;
  readonly vendor: string;
  /** SIMD width that the software driver was asked for. */
  readonly vectorBits: number | undefined;
  readonly processor: string;
  readonly cores: number;
  readonly runtime: string;
  readonly date: string;
  /** Of the last minute, before the run: other work falsifies the numbers. */
  readonly load: number;
}

export interface Row {
  readonly group: string;
  readonly name: string;
  readonly flops?: number | undefined;
  readonly bytes?: number | undefined;
  /** Ours first. */
  readonly times: readonly Time[];
  /** Part of the wall time in which the device did nothing, where it was measured. */
  readonly idle?: number | undefined;
  /** NMSE of each other contender's result against ours, in the order of `times`. */
  readonly differences?: readonly number[] | undefined;
}

/** Weights are the same f16 for all and arithmetic is f32: only the order of sums differs. */
const largestDifference = 1e-6;

/** NMSE of a contender whose result is not ours; `index` as in `times`. */
function wrongBy({ differences }: Row, index: number): string | undefined {
  const difference = differences?.[index - 1] ?? 0;
  return difference <= largestDifference
    ? undefined
    : `another result (NMSE ${difference.toExponential(1)})`;
}

export interface Report {
  readonly machine: Machine;
  readonly limits?: AdapterLimits | undefined;
  readonly rows: readonly Row[];
}

export function describeMachine({ machine, limits }: Report): string {
  const { adapter, vectorBits, processor, cores, runtime, date, load } = machine;
  const bits = vectorBits === undefined ? "" : `, asked for ${vectorBits}-bit vectors`;
  const most = limits &&
    `limits measured in this run: ${giga(limits.flops, 0)} GFLOP/s of f32 multiply-adds, ` +
      `${giga(limits.bandwidth, 1)} GB/s read and written`;
  return [
    `${adapter}${bits} on ${processor}, ${cores} threads; ${runtime}; ${date}`,
    ...(most ? [most] : []),
    ...(load > 0.5
      ? [`load average ${load.toFixed(1)} before the run: other work was going on`]
      : []),
  ].join("\n");
}

/** One line for each contender. */
export function describeRow(row: Row, limits: AdapterLimits | undefined): string {
  const [own] = row.times;
  const lines = row.times.map((time, i) => {
    const wrong = wrongBy(row, i);
    const ratio = i > 0 && own
      ? `, ${wrong ?? `ours is ${times(time.best / own.best)} as fast`}`
      : "";
    const share = i === 0 && limits ? ofLimit(row, time, limits) : undefined;
    const idle = i === 0 && row.idle !== undefined ? `, device idle ${percent(row.idle)}` : "";
    return `  ${time.name.padEnd(30)} best ${milliseconds(time.best)}, median ${
      milliseconds(time.median)
    } of ${time.rounds}${rate(row, time)}${
      share === undefined ? "" : `, ${percent(share)} of limit`
    }${idle}${ratio}`;
  });
  return `${row.group}: ${row.name}\n${lines.join("\n")}`;
}

/** A table with a row for each computation and a pair of columns for each other contender. */
export function toMarkdown(report: Report): string {
  const names = [...new Set(report.rows.flatMap((row) => row.times.map(({ name }) => name)))];
  const [own, ...others] = names;
  const header = [
    "",
    `${own}, best`,
    "median",
    "rate",
    "of limit",
    ...others.flatMap((name) => [name, "ratio"]),
  ];
  const body = report.rows.map((row) => {
    const first = row.times[0]!;
    const share = report.limits && ofLimit(row, first, report.limits);
    return [
      row.name + (row.idle === undefined ? "" : ` (device idle ${percent(row.idle)})`),
      milliseconds(first.best),
      milliseconds(first.median),
      rate(row, first).replace(", ", ""),
      share === undefined ? "" : percent(share),
      ...others.flatMap((name) => {
        const index = row.times.findIndex((time) => time.name === name);
        const other = row.times[index];
        if (!other) return ["", ""];
        const ratio = wrongBy(row, index) ?? times(other.best / first.best);
        return [milliseconds(other.best) + rate(row, other), ratio];
      }),
    ];
  });
  const rule = header.map((_, i) => (i === 0 ? "---" : "--:"));
  const lines = [header, rule, ...body].map((cells) => `| ${cells.join(" | ")} |`);
  return `${describeMachine(report).replaceAll("\n", "  \n")}\n\n${lines.join("\n")}`;
}

function ofLimit({ flops, bytes }: Row, { best }: Time, limits: AdapterLimits): number | undefined {
  if (flops) return flops / best * 1000 / limits.flops;
  if (bytes) return bytes / best * 1000 / limits.bandwidth;
  return undefined;
}

function rate({ flops, bytes }: Row, { best }: Time): string {
  if (flops) return `, ${giga(flops / best * 1000, 1)} GFLOP/s`;
  if (bytes) return `, ${giga(bytes / best * 1000, 1)} GB/s`;
  return "";
}

const giga = (value: number, digits: number) => (value / 1e9).toFixed(digits);
const percent = (part: number) => `${(100 * part).toFixed(part < 0.1 ? 1 : 0)} %`;
const times = (ratio: number) => `${ratio.toPrecision(ratio < 10 ? 2 : 3)}x`;

function milliseconds(value: number): string {
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  return `${value >= 100 ? value.toFixed(0) : value.toPrecision(3)} ms`;
}
