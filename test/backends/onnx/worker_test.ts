/**
 * onnxruntime inside a worker, as the server has it. In a file of its own: in Deno, a thread that has
 * loaded onnxruntime hears nothing from workers that it starts later.
 */
import assert from "node:assert/strict";
import { exportOnnx } from "../../../src/backends/onnx/export/mod.ts";
import { directorySink } from "../../../src/weights/deno_sink.ts";
import { directorySource } from "../../../src/weights/deno_source.ts";
import { nmse, tolerance } from "../../tolerance.ts";
import { golden, tinyModel } from "./golden.ts";

Deno.test("a worker has onnxruntime, too, and keeps its location", async () => {
  const g = await golden("text");
  const ids = [...g.ids("ids_1").data.slice(0, 24)].map(Number);
  const directory = await Deno.makeTempDir();
  const only = ["text_encoder"] as const;
  await exportOnnx(directorySource(tinyModel), directorySink(directory), { only });
  const worker = new Worker(new URL("./worker_entry.ts", import.meta.url), { type: "module" });
  try {
    const answer = Promise.withResolvers<{ pooled: Float32Array; location: string }>();
    worker.onmessage = ({ data }) => answer.resolve(data);
    worker.onerror = (event) => {
      event.preventDefault();
      answer.reject(new Error(event.message));
    };
    worker.postMessage({ model: tinyModel, onnx: directory, ids });
    const { pooled, location } = await answer.promise;
    const expected = g.floats("text_embeds_1").data.subarray(0, 128);
    assert.ok(nmse(pooled, expected) <= tolerance.module);
    assert.match(location, /worker_entry\.ts$/);
  } finally {
    worker.terminate();
    await Deno.remove(directory, { recursive: true });
  }
});
