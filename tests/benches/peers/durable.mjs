// Three steps of `@restatedev/restate-sdk`, each recorded by restate-server. Reads `AT_ONCE RUNS` lines, answers each with the times of the
// runs in ms as a JSON list. Arguments: the port of this service, that of the server's ingress, and that of its admin.
import * as restate from "@restatedev/restate-sdk";
import * as readline from "node:readline";

// Node 20 lacks it.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new Promise((yes, no) => ([resolve, reject] = [yes, no]));
  return { promise, resolve, reject };
};

const [service, ingress, admin] = process.argv.slice(2);
const chain = restate.service({
  name: "chain",
  handlers: {
    run: async (ctx, input) => {
      let value = input;
      for (const step of ["one", "two", "three"]) {
        value = await ctx.run(step, () => ({ text: `${step} ${value.text}` }));
      }
      return value;
    },
  },
});
await restate.serve({ services: [chain], port: Number(service) });

async function post(port, path, body) {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

for (let tries = 0; ; tries++) {
  try {
    await post(admin, "/deployments", { uri: `http://127.0.0.1:${service}`, force: true });
    await post(ingress, "/chain/run", { text: "first" });
    break;
  } catch (e) {
    if (tries > 240) throw e;
    await new Promise((done) => setTimeout(done, 250));
  }
}
console.log("ready");
for await (const line of readline.createInterface({ input: process.stdin })) {
  const [atOnce, runs] = line.split(" ").map(Number);
  const took = [];
  let left = runs;
  const begin = performance.now();
  const worker = async () => {
    while (left-- > 0) {
      const since = performance.now();
      await post(ingress, "/chain/run", { text: "x" });
      took.push(performance.now() - since);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  console.log(JSON.stringify({ took, all: performance.now() - begin }));
}
process.exit(0);
