/**
 * The adapters for which a model records the same commands: they agree in all that a recording
 * depends on, and one recording serves them all.
 */
import type { DeviceModel } from "../../src/gpu/dry_device.ts";
import {
  type AdapterProfile,
  adapterProfiles,
  type ProfileLimits,
  webgpuDefaults,
} from "../../src/gpu/profiles.ts";

export interface Kind {
  readonly name: string;
  readonly profiles: readonly (readonly [name: string, profile: AdapterProfile])[];
  readonly like: DeviceModel;
}

/** Limits that decide what is recorded; all others only bound it. */
const deciding = ["maxStorageBufferBindingSize"] as const;
/** On software adapters, which read textures. */
const decidingTextures = ["maxTextureDimension2D"] as const;

export function kindsOfAdapters(): Kind[] {
  const groups = Map.groupBy(Object.entries(adapterProfiles), ([, { adapter, limits }]) => {
    const { isSoftware, description } = adapter;
    const names = isSoftware ? [...deciding, ...decidingTextures] : deciding;
    const isTextured = isSoftware && /llvmpipe/.test(description);
    return JSON.stringify([isSoftware, isTextured, names.map((name) => limits[name])]);
  });
  return [...groups.values()].map((profiles) => ({
    name: profiles.map(([name]) => name).join(", "),
    profiles,
    like: {
      // Features add kernels to choose from and take none away.
      adapter: profiles.find(([, { adapter }]) => adapter.shaderF16)?.[1].adapter ??
        profiles[0]![1].adapter,
      limits: least(profiles.map(([, { limits }]) => limits)) as unknown as GPUSupportedLimits,
    },
  }));
}

/** What all of these devices offer. */
function least(list: readonly ProfileLimits[]): ProfileLimits {
  const names = Object.keys(webgpuDefaults) as (keyof ProfileLimits)[];
  return Object.fromEntries(names.map((name) => {
    const values = list.map((limits) => limits[name]);
    return [name, name.startsWith("min") ? Math.max(...values) : Math.min(...values)];
  })) as ProfileLimits;
}
