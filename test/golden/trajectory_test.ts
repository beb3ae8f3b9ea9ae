/** Latents after every step, and the image, for several sizes and with and without guidance. */
import { openFixture } from "./fixture.ts";
import { assertTrajectory, trajectories } from "./trajectory.ts";

const fixture = await openFixture();

for (const name of Object.keys(trajectories) as (keyof typeof trajectories)[]) {
  Deno.test(`${name}: latents after every step, and the image`, async () => {
    await assertTrajectory(fixture, name);
  });
}
