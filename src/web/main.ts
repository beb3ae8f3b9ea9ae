/** Puts the page together: the two places that can answer, the status strip, and the studio. */
import { ServerApi } from "./api.ts";
import { askApiKey, loadApiKey } from "./api_key.ts";
import { BrowserPlace } from "./browser_place.ts";
import type { FormModel } from "./request_form.ts";
import type { Place } from "./runner.ts";
import { ServerRunner } from "./server_runner.ts";
import { ServerWatch, type WatchState } from "./server_watch.ts";
import { StatusStrip, type StripState } from "./status_strip.ts";
import { Studio } from "./studio.ts";

const base = new URL("./", location.href).href;
const api = new ServerApi(base);
api.apiKey = loadApiKey();

const strip = new StatusStrip();
const server = new ServerRunner(api);
const browser = new BrowserPlace(base, () => api.apiKey, showPlace);
let place: Place = "server";
let serverState: WatchState = { state: "wait", text: "Connecting" };

const studio = new Studio({
  base,
  runner: () => place === "server" ? server : browser,
  hasKey: () => api.apiKey !== undefined,
  askKey,
  // By the time the server is asked, it has counted the request.
  onActivity: () => void setTimeout(() => void watch.ask(), 150),
});

const watch = new ServerWatch(api, (state) => {
  serverState = state;
  if (state.state === "unauthorized" && api.apiKey === undefined) void askKey();
  showPlace();
});

const places = [...document.querySelectorAll<HTMLInputElement>("input[name=place]")];
for (const input of places) input.addEventListener("change", () => choose(input.value as Place));
choose(location.hash === "#browser" ? "browser" : "server");
void studio.gallery.load();
void watch.ask();

function choose(chosen: Place): void {
  place = chosen;
  for (const input of places) input.checked = input.value === chosen;
  history.replaceState(null, "", chosen === "browser" ? "#browser" : location.pathname);
  if (chosen === "browser") void browser.enter();
  else browser.leave();
  showPlace();
}

/** Brings strip and form in line with the chosen place's state. */
function showPlace(): void {
  const { strip: line, model } = place === "server" ? describeServer(serverState) : browser.state();
  strip.show(line);
  if (model !== undefined) studio.form.setModel(model);
}

async function askKey(): Promise<boolean> {
  const key = await askApiKey();
  if (key === undefined) return false;
  api.apiKey = key;
  void watch.ask();
  return true;
}

function describeServer(state: WatchState): { strip: StripState; model?: FormModel } {
  if (state.state !== "ready") {
    return { strip: { state: state.state === "away" ? "away" : "wait", text: state.text } };
  }
  const { status } = state;
  const model = status.fields;
  if (status.state !== "ready") {
    return { strip: { state: "wait", text: `The server is ${status.state}` }, model };
  }
  const { adapter, memory, requests } = status;
  const shown = { model: status.current_model, adapter, memory, requests };
  return { strip: { state: "ready", status: shown }, model };
}
