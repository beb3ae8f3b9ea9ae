/** Prometheus metrics: what `GET /metrics` says. */

import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Engine, Timings } from "../engine/types.ts";
import type { ImageStore } from "./images.ts";
import type { JobEvent } from "./job_events.ts";
import type { JobOutcome, Jobs } from "./jobs.ts";

/** Seconds; a step takes milliseconds on a large GPU and minutes on a software adapter. */
const stepBuckets = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180];
const stageBuckets = [0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600, 1800];
const httpBuckets = [0.001, 0.005, 0.025, 0.1, 0.25, 1, 5, 30, 120, 600];

export interface MetricsSources {
  readonly engine: Engine;
  readonly jobs: Jobs;
  readonly images: ImageStore;
}

export class Metrics {
  readonly #registry = new Registry();
  readonly #requests: Counter<"outcome">;
  readonly #refused: Counter<"status">;
  readonly #images: Counter;
  readonly #steps: Histogram;
  readonly #stages: Histogram<"stage">;
  readonly #http: Histogram<"method" | "route" | "status">;

  constructor() {
    const registers = [this.#registry];
    this.#requests = new Counter({
      name: "sd_requests_total",
      help: "Generation requests that ended, by outcome",
      labelNames: ["outcome"],
      registers,
    });
    this.#refused = new Counter({
      name: "sd_requests_refused_total",
      help: "Generation requests that were never admitted, by HTTP status",
      labelNames: ["status"],
      registers,
    });
    this.#images = new Counter({
      name: "sd_images_total",
      help: "Images generated",
      registers,
    });
    this.#steps = new Histogram({
      name: "sd_step_seconds",
      help: "Time between two denoising steps of one request",
      buckets: stepBuckets,
      registers,
    });
    this.#stages = new Histogram({
      name: "sd_stage_seconds",
      help: "Time that a request spent in each stage",
      labelNames: ["stage"],
      buckets: stageBuckets,
      registers,
    });
    this.#http = new Histogram({
      name: "http_request_duration_seconds",
      help: "Time until an HTTP request was answered (until its start, for event streams)",
      labelNames: ["method", "route", "status"],
      buckets: httpBuckets,
      registers,
    });
    // Outcomes that have not happened yet are zero, not absent: rates need a start.
    for (const outcome of ["completed", "cancelled", "failed"]) this.#requests.inc({ outcome }, 0);
  }

  /** Adds the gauges that are read when somebody asks for the metrics. */
  observe({ engine, jobs, images }: MetricsSources): void {
    const registers = [this.#registry];
    const gauge = (name: string, help: string, read: () => number) => {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    };
    gauge("sd_requests_active", "Requests that are running", () => jobs.counts().active);
    gauge("sd_requests_waiting", "Requests that wait for a place", () => jobs.counts().waiting);
    gauge("sd_stored_images", "Images in the folder", () => images.usage().count);
    gauge("sd_stored_image_bytes", "Their size", () => images.usage().bytes);
    gauge(
      "process_resident_memory_bytes",
      "Resident memory of the process",
      () => Deno.memoryUsage().rss,
    );
    new Gauge({
      name: "sd_gpu_bytes",
      help: "GPU memory in use, by owner",
      labelNames: ["owner"],
      registers,
      collect() {
        const { weights, arena, requests, cache } = engine.status().memory;
        for (const [owner, bytes] of Object.entries({ weights, arena, requests, cache })) {
          this.set({ owner }, bytes);
        }
      },
    });
    new Gauge({
      name: "sd_prompt_cache_lookups",
      help: "Prompts looked up among the encoded ones since the model was opened, by result",
      labelNames: ["result"],
      registers,
      collect() {
        const { hits, misses } = engine.status().promptCache;
        this.set({ result: "hit" }, hits);
        this.set({ result: "miss" }, misses);
      },
    });
    gauge(
      "sd_gpu_budget_bytes",
      "GPU memory that admission may use",
      () => engine.status().memory.budget,
    );
  }

  http(method: string, route: string, status: number, seconds: number): void {
    this.#http.observe({ method, route, status: String(status) }, seconds);
  }

  refused(status: number): void {
    this.#refused.inc({ status: String(status) });
  }

  ended(outcome: JobOutcome, images: number, timings: Timings | undefined): void {
    this.#requests.inc({ outcome });
    this.#images.inc(images);
    if (timings === undefined) return;
    for (const [stage, seconds] of Object.entries(timings)) {
      this.#stages.observe({ stage }, seconds);
    }
  }

  /** Hears one job's events and measures its steps. */
  async timeSteps(events: AsyncIterable<JobEvent>): Promise<void> {
    let last: number | undefined;
    for await (const { type } of events) {
      if (type !== "progress") continue;
      const now = performance.now();
      if (last !== undefined) this.#steps.observe((now - last) / 1000);
      last = now;
    }
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }
}
