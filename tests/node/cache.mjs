// Node's `redis` beside ours: reads a JSON line of commands from stdin, answers each with a JSON line.
import { createClient } from "redis";
import { createInterface } from "node:readline";

const client = createClient({ url: process.env.REDIS_URL });
client.on("error", (error) => { console.error(error.message); process.exit(1); });
await client.connect();
for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...args] = JSON.parse(line);
  // As the TypeScript packages do: JSON.stringify on the way in, JSON.parse on the way out.
  const answer = {
    set: ([key, value]) => client.set(key, JSON.stringify(value), { PX: 60000 }),
    get: async ([key]) => JSON.parse(await client.get(key)),
    raw: ([key]) => client.get(key),
    sadd: ([key, ...values]) => client.sAdd(key, values.map((value) => JSON.stringify(value))),
    smembers: async ([key]) => (await client.sMembers(key)).map((text) => JSON.parse(text)),
    srem: ([key, value]) => client.sRem(key, JSON.stringify(value)),
    claim: ([key]) => client.set(`${key}_refresh`, "1", { NX: true, PX: 60000 }),
  }[command];
  console.log(JSON.stringify((await answer(args)) ?? null));
}
await client.quit();
