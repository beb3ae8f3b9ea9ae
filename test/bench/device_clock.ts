/**
 * How long the device is at work: a timestamp before and one after every submit. What runs between
 * them is kernels and copies; the rest of the wall time is the host's, or nobody's.
 */
import type { Gpu } from "../../src/gpu/device.ts";

/** Submits that one query set holds. */
const submitsPerSet = 1024;

export interface DeviceClock {
  /** Milliseconds at work since the start or the last reading; after everything submitted so far. */
  read(): Promise<number>;
  stop(): void;
}

/** Starts counting, or returns undefined where the device has no timestamps. */
export function startDeviceClock({ device, queue }: Gpu): DeviceClock | undefined {
  if (!device.features.has("timestamp-query")) return undefined;
  const sets: GPUQuerySet[] = [];
  let submits = 0;
  const stamp = (querySet: GPUQuerySet, index: number) => {
    const encoder = device.createCommandEncoder({ label: "device clock" });
    encoder.beginComputePass({
      // A pass writes both or none; the second of each pair is not read.
      timestampWrites: {
        querySet,
        beginningOfPassWriteIndex: index,
        endOfPassWriteIndex: index + 1,
      },
    }).end();
    return encoder.finish();
  };
  const submit = queue.submit.bind(queue);
  queue.submit = (commands) => {
    const set = Math.floor(submits / submitsPerSet);
    const querySet = sets[set] ??= device.createQuerySet({
      type: "timestamp",
      count: 4 * submitsPerSet,
    });
    const index = 4 * (submits++ % submitsPerSet);
    submit([stamp(querySet, index), ...commands, stamp(querySet, index + 2)]);
  };
  return {
    async read() {
      let nanoseconds = 0n;
      for (const querySet of sets) {
        const count = Math.min(submits, submitsPerSet);
        submits -= count;
        const values = await resolve(device, submit, querySet, 4 * count);
        for (let i = 0; i < count; i++) nanoseconds += values[4 * i + 2]! - values[4 * i + 1]!;
      }
      submits = 0;
      return Number(nanoseconds) / 1e6;
    },
    stop() {
      queue.submit = submit;
      for (const querySet of sets) querySet.destroy();
    },
  };
}

async function resolve(
  device: GPUDevice,
  submit: GPUQueue["submit"],
  querySet: GPUQuerySet,
  count: number,
): Promise<BigUint64Array> {
  const size = 8 * Math.max(1, count);
  const { QUERY_RESOLVE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
  const resolved = device.createBuffer({ size, usage: QUERY_RESOLVE | COPY_SRC });
  const readable = device.createBuffer({ size, usage: COPY_DST | MAP_READ });
  const encoder = device.createCommandEncoder({ label: "device clock" });
  encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
  encoder.copyBufferToBuffer(resolved, 0, readable, 0, size);
  submit([encoder.finish()]);
  await readable.mapAsync(GPUMapMode.READ);
  const values = new BigUint64Array(readable.getMappedRange().slice(0));
  for (const buffer of [resolved, readable]) buffer.destroy();
  return values;
}
