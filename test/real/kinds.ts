/**
 * The adapters for which a model records the same commands: they agree in all that a recording
 * depends on, and one recording serves them all.
 */
import { ownFamily } from "../../src/gpu/adapter.ts";
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

/** Adapters with the kernels made for them, and software adapters with the GPUs' as well. */
function* families() {
  for (const [name, profile] of Object.entries(adapterProfiles)) {
    const own = ownFamily(profile.adapter);
    yield { name, profile, family: own };
    if (own === "software") yield { name: `${name} as a GPU`, profile, family: "gpu" as const };
  }
}

export function kindsOfAdapters(): Kind[] {
  const groups = Map.groupBy(families(), ({ profile: { adapter, limits }, family }) => {
    const isSoftware = family === "software";
    const names = isSoftware ? [...deciding, ...decidingTextures] : deciding;
    const isTextured = isSoftware && /llvmpipe/.test(adapter.description);
    return JSON.stringify([family, isTextured, names.map((name) => limits[name])]);
  });
  return [...groups.values()].map((members) => ({
    name: members.map(({ name }) => name).join(", "),
    profiles: members.map(({ name, profile }) => [name, profile] as const),
    like: {
      // Features add kernels to choose from and take none away.
      adapter: (members.find(({ profile }) => profile.adapter.shaderF16) ?? members[0]!).profile
        .adapter,
      family: members[0]!.family,
      limits: least(members.map(({ profile }) => profile.limits)) as unknown as GPUSupportedLimits,
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
