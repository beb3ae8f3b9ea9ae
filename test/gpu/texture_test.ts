import assert from "node:assert/strict";
import { attention } from "../../src/ops/attention.ts";
import { textureExtent } from "../../src/gpu/texture.ts";
import { gpu, input, random } from "../gpu.ts";

const heads = 2;
const headDim = 64;

async function program(tokens: number) {
  const rec = gpu.record(`${tokens} tokens`);
  const qkv = input(random(tokens * 3 * heads * headDim, tokens), [1, tokens, 3 * heads * headDim]);
  const options = { streams: [qkv], heads, headDim, scale: 0.125, label: "test" };
  const [output] = attention(rec, { ...options, variant: "texture" });
  return { program: await rec.finish(), output: output! };
}

Deno.test("a scratch texture grows under a recorded program, which then copies into the new one", async () => {
  const before = gpu.arena.bytes;
  const small = await program(20);
  await gpu.run(small.program);
  const first = await gpu.readBytes(small.output);
  const width = heads * headDim / 2;
  assert.ok(gpu.arena.bytes - before >= 16 * width * 20);

  const generation = gpu.arena.generation;
  const large = await program(300);
  assert.notEqual(gpu.arena.generation, generation);
  await gpu.run(large.program);
  await gpu.run(small.program);
  assert.deepEqual(await gpu.readBytes(small.output), first);

  const texture = gpu.arena.texture(width, 10);
  assert.ok(texture.height >= 300, "a lower one takes the higher one");
  assert.equal(texture, gpu.arena.texture(width, 300));
  assert.deepEqual([1, 2, 3, 4, 255, 256].map((n) => textureExtent(n, 256)), [
    3,
    3,
    3,
    5,
    255,
    256,
  ]);
});

Deno.test("the ledger holds scratch textures and forgets them with the arena", () => {
  const others = gpu.ledger.bytes("arena") - gpu.arena.bytes;
  gpu.arena.texture(48, 5);
  assert.equal(gpu.ledger.bytes("arena") - others, gpu.arena.bytes);
  gpu.arena.texture(48, 9);
  assert.equal(gpu.ledger.bytes("arena") - others, gpu.arena.bytes);
  gpu.arena.dispose();
  assert.equal(gpu.arena.bytes, 0);
  assert.equal(gpu.ledger.bytes("arena"), others);
});
