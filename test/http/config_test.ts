import assert from "node:assert/strict";
import { describeConfig, environmentVariables, parseConfig } from "../../src/http/config.ts";
import { ConfigExit } from "../../src/http/errors.ts";

const none = () => undefined;

function exitOf(work: () => unknown): ConfigExit {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof ConfigExit);
    return error;
  }
  throw new Error("Nothing was thrown");
}

Deno.test("parseConfig() has the documented defaults", () => {
  const config = parseConfig([], none);
  assert.equal(config.port, 8500);
  assert.equal(config.maxQueue, 64);
  assert.equal(config.maxConcurrency, 64);
  assert.equal(config.trustProxy, true);
  assert.equal(config.maxBatch, undefined);
  assert.equal(config.kernels, "auto");
  assert.equal(config.tune, true);
  assert.equal(config.tuningFile, ".cache/tuning.json");
  assert.equal(config.logPrompts, false);
  assert.equal(config.apiKey, undefined);
  assert.deepEqual(config.corsOrigin, ["*"]);
});

Deno.test("parseConfig() takes flags before the environment before the defaults", () => {
  const environment = (name: string) =>
    ({
      PORT: "9000",
      MAX_QUEUE: "3",
      KERNELS: "software",
      NO_TRUST_PROXY: "1",
      LOG_PROMPTS: "yes",
      HOST: "",
      NO_TUNE: "1",
      TUNING_FILE: "choices.json",
    })[name];
  const config = parseConfig(["--port", "9100", "--max-batch", "4"], environment);
  assert.equal(config.port, 9100);
  assert.equal(config.maxQueue, 3);
  assert.equal(config.maxBatch, 4);
  assert.equal(config.kernels, "software");
  assert.equal(config.trustProxy, false);
  assert.equal(config.tune, false);
  assert.equal(config.tuningFile, "choices.json");
  assert.equal(config.logPrompts, true);
  assert.equal(config.host, "0.0.0.0", "an empty variable is an unset one");
});

Deno.test("parseConfig() reads bytes with units, lists and URLs", () => {
  const config = parseConfig([
    ...["--gpu-memory", "8G", "--image-max-bytes", "512KiB", "--max-body-bytes", "1000"],
    ...["--cors-origin", "https://a.example, https://b.example", "--browser-model", "none"],
    ...["--public-url", "https://images.example/sd/"],
  ], none);
  assert.equal(config.gpuMemory, 8 * 2 ** 30);
  assert.equal(config.imageMaxBytes, 512 * 1024);
  assert.equal(config.maxBodyBytes, 1000);
  assert.deepEqual(config.corsOrigin, ["https://a.example", "https://b.example"]);
  assert.equal(config.publicUrl, "https://images.example/sd");
  assert.equal(config.browserModel, undefined);
});

Deno.test("parseConfig() ends with help that names every flag and variable", () => {
  const { code, message } = exitOf(() => parseConfig(["--help"], none));
  assert.equal(code, 0);
  for (const variable of environmentVariables) {
    assert.match(message, new RegExp(`\\[${variable}\\]`));
  }
  assert.match(message, /--drain-seconds <n>/);
  assert.match(message, /default: 8500/);
});

Deno.test("parseConfig() refuses wrong flags and says what is allowed", () => {
  const cases: [string[], RegExp][] = [
    [["--port", "99999"], /whole number from 0 to 65535, not "99999"/],
    [["--port", "8e3"], /whole number/],
    [["--backend", "cuda"], /one of wgsl, onnx, auto/],
    [["--weights", "q5_1"], /one of auto, f32, q8_0, q4_0/],
    [["--kernels", "cuda"], /one of auto, gpu, software/],
    [["--gpu-memory", "lots"], /512K/],
    [["--public-url", "ftp://x"], /http or https/],
    [["--api-key", "with space"], /API key/],
    [["--nonsense"], /unknown option '--nonsense'/],
    [["stray"], /too many arguments/],
  ];
  for (const [args, message] of cases) {
    const exit = exitOf(() => parseConfig(args, none));
    assert.equal(exit.code, 2, args.join(" "));
    assert.match(exit.message, message);
  }
});

Deno.test("parseConfig() names the environment variable that is wrong", () => {
  const environment = (name: string) => name === "MAX_STEPS" ? "many" : undefined;
  const exit = exitOf(() => parseConfig([], environment));
  assert.equal(exit.code, 2);
  assert.match(exit.message, /MAX_STEPS: Give a whole number/);
});

Deno.test("describeConfig() does not show the key", () => {
  const shown = JSON.stringify(describeConfig(parseConfig(["--api-key", "secret-42"], none)));
  assert.doesNotMatch(shown, /secret-42/);
  assert.match(shown, /"apiKey":"set"/);
});
