/** Puts the page together: who answers, the status strip, and the studio over both. */
import { ServerApi, type ServerStatus } from "./api.ts";
import { askApiKey, loadApiKey } from "./api_key.ts";
import type { FormModel } from "./request_form.ts";
import { ServerRunner } from "./server_runner.ts";
import { ServerWatch } from "./server_watch.ts";
import { StatusStrip } from "./status_strip.ts";
import { Studio } from "./studio.ts";

const base = new URL("./", location.href).href;
const api = new ServerApi(base);
api.apiKey = loadApiKey();

let serverModel = "";
const strip = new StatusStrip();
const server = new ServerRunner(api, () => serverModel);

const studio = new Studio({
  base,
  runner: () => server,
  hasKey: () => api.apiKey !== undefined,
  askKey,
});

const watch = new ServerWatch(api, (state) => {
  if (state.state === "ready") {
    const { current_model, adapter, memory, requests } = state.status;
    serverModel = current_model;
    studio.form.setModel(formModelOf(state.status));
    strip.show({ state: "ready", status: { model: current_model, adapter, memory, requests } });
  } else if (state.state === "unauthorized") {
    strip.show({ state: "wait", text: state.text });
    if (api.apiKey === undefined) void askKey();
  } else {
    strip.show({ state: state.state, text: state.text });
  }
});

void studio.gallery.load();
void watch.ask();

async function askKey(): Promise<boolean> {
  const key = await askApiKey();
  if (key === undefined) return false;
  api.apiKey = key;
  void watch.ask();
  return true;
}

/** The server's published defaults and limits as the form wants them. */
function formModelOf({ defaults, limits }: ServerStatus): FormModel {
  const number = (value: unknown, fallback: number) => typeof value === "number" ? value : fallback;
  return {
    width: number(defaults?.width, 1024),
    height: number(defaults?.height, 1024),
    numInferenceSteps: number(defaults?.num_inference_steps, 28),
    guidanceScale: number(defaults?.guidance_scale, 7),
    maxSequenceLength: number(defaults?.max_sequence_length, 256),
    sizeMultiple: number(limits.size_multiple, 16),
    maxSize: typeof limits.max_size === "number" ? limits.max_size : undefined,
  };
}
