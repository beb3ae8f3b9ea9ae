/**
 * Makes sure that Deno finds a WebGPU adapter, before anybody asks for one: sets what the drivers
 * read from the environment, and on Linux installs Mesa's software Vulkan driver where none is found.
 */
import { DeviceUnavailableError } from "./src/gpu/errors.ts";

export interface AdapterSetup {
  /** SIMD width that Mesa's llvmpipe was asked to compile for, if it was. */
  readonly vectorBits?: number;
}

/**
 * Sets environment variables for the Vulkan drivers. Must run before the first `requestAdapter()`,
 * whose driver reads them once; values that the user set are kept.
 */
export function prepareAdapter(): AdapterSetup {
  // wgpu prints an error line where this is unset; nothing is written there for compute.
  setDefault("XDG_RUNTIME_DIR", "/tmp");
  if (Deno.build.os !== "linux" || !hasAvx512()) return {};
  setDefault("LP_NATIVE_VECTOR_WIDTH", "512");
  const vectorBits = Number(Deno.env.get("LP_NATIVE_VECTOR_WIDTH"));
  if (vectorBits === 512 && !Deno.env.has("MESA_SHADER_CACHE_DIR")) {
    // Mesa does not tell code for other widths apart in its cache.
    const cache = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME") ?? "/tmp"}/.cache`;
    Deno.env.set("MESA_SHADER_CACHE_DIR", `${cache}/mesa_shader_cache_512`);
  }
  return { vectorBits };
}

function setDefault(name: string, value: string): void {
  if (!Deno.env.has(name)) Deno.env.set(name, value);
}

function hasAvx512(): boolean {
  try {
    return Deno.readTextFileSync("/proc/cpuinfo").includes("avx512f");
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) return false;
  }
  // Deno reads /proc only with every permission there is; grep needs --allow-run=grep.
  try {
    return new Deno.Command("grep", { args: ["-q", "avx512f", "/proc/cpuinfo"] }).outputSync()
      .success;
  } catch {
    return false;
  }
}

export interface EnsureOptions {
  /** Installs a driver where none is found. */
  readonly install: boolean;
  /** Hears what is about to be done. */
  readonly log: (line: string) => void;
}

const advice = `No WebGPU adapter was found. Install a Vulkan driver:
  Debian, Ubuntu   apt-get install mesa-vulkan-drivers
  Fedora           dnf install mesa-vulkan-drivers
  Arch             pacman -S vulkan-swrast (or vulkan-radeon, vulkan-intel, nvidia-utils)
  Alpine           apk add mesa-vulkan-swrast
  openSUSE         zypper install libvulkan_lvp
macOS (Metal) and Windows (DirectX 12) bring their own.`;

/**
 * Finds an adapter or installs a software driver (Linux with apt, as root or with passwordless sudo).
 *
 * @returns false if a driver was installed but this process asked too early to see it: start again
 * @throws {DeviceUnavailableError} naming the packages of the common systems
 */
export async function ensureAdapter({ install, log }: EnsureOptions): Promise<boolean> {
  prepareAdapter();
  // The first request for an adapter loads the drivers for good, so do not ask before there is one.
  const hasDriver = Deno.build.os !== "linux" || hasVulkanDriver();
  if (hasDriver && await navigator.gpu?.requestAdapter()) return true;
  if (!install || Deno.build.os !== "linux") throw new DeviceUnavailableError(advice);
  await installPackages(["mesa-vulkan-drivers"], "No WebGPU adapter was found", log);
  if (hasDriver) return false;
  if (await navigator.gpu?.requestAdapter()) return true;
  throw new DeviceUnavailableError(advice);
}

function hasVulkanDriver(): boolean {
  return ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"].some(
    (folder) => {
      try {
        return [...Deno.readDirSync(folder)].some(({ name }) => name.endsWith(".json"));
      } catch {
        return false;
      }
    },
  ) || Deno.env.has("VK_ICD_FILENAMES") || Deno.env.has("VK_DRIVER_FILES");
}

/**
 * Installs Debian packages, after saying so.
 *
 * @throws {DeviceUnavailableError} where apt cannot be used or fails
 */
export async function installPackages(
  packages: readonly string[],
  reason: string,
  log: (line: string) => void,
): Promise<void> {
  const root = Deno.uid() === 0;
  if (
    !await succeeds("apt-get", ["--version"]) || !(root || await succeeds("sudo", ["-n", "true"]))
  ) {
    throw new DeviceUnavailableError(advice);
  }
  const prefix = root ? [] : ["sudo", "-n"];
  const command = [...prefix, "apt-get", "install", "-y", "--no-install-recommends", ...packages];
  log(`${reason}: installing ${packages.join(", ")} (${command.join(" ")})`);
  await run([...prefix, "apt-get", "update", "-qq"]);
  await run(command);
}

async function succeeds(command: string, args: string[]): Promise<boolean> {
  try {
    const { success } = await new Deno.Command(command, { args, stdout: "null", stderr: "null" })
      .output();
    return success;
  } catch {
    return false;
  }
}

async function run([command, ...args]: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(command!, {
    args,
    env: { DEBIAN_FRONTEND: "noninteractive" },
    stdout: "null",
    stderr: "piped",
  }).output();
  if (success) return;
  const reason = new TextDecoder().decode(stderr).trim();
  throw new DeviceUnavailableError(`${command} ${args.join(" ")} failed:\n${reason}\n\n${advice}`);
}

// `deno run -A adapter.ts` prepares a machine for a program that may not install anything itself.
if (import.meta.main) {
  // deno-lint-ignore no-console
  const log = (line: string) => console.error(line);
  try {
    await ensureAdapter({ install: !Deno.args.includes("--no-install"), log });
  } catch (error) {
    log(error instanceof DeviceUnavailableError ? error.message : String(error));
    Deno.exit(1);
  }
}
