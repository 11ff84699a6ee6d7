// Many clients at once: each connects by polling, then upgrades to a WebSocket, as browsers do. When all are there, one of
// each replica says something. One line of JSON tells what became of it; the clients stay until SIGTERM or SIGINT.
//   node clients.js --url http://socketio --clients 200 [--hop] [--seconds 60]
// With --hop they come from as many addresses of their own, through a hop that says which in X-Forwarded-For.

import { randomUUID } from "node:crypto";
import { Agent } from "node:http";
import { parseArgs } from "node:util";
import { io } from "socket.io-client";
import { start } from "./hop.js";

const { values } = parseArgs({
  options: {
    url: { type: "string", default: "http://socketio" },
    clients: { type: "string", default: "200" },
    seconds: { type: "string", default: "60" },
    hop: { type: "boolean", default: false },
  },
});
const count = Number(values.clients);
if (!(Number.isInteger(count) && count >= 1 && count <= 60_000)) {
  throw new Error(`--clients is ${values.clients}, must be a number from 1 to 60000`);
}
const url = values.hop ? await start(new URL(values.url)) : new URL(values.url);
const deadline = Date.now() + Number(values.seconds) * 1000;

// The n-th address of the own machine: all of 127.0.0.0/8 is.
const address = (n) => `127.1.${n >> 8}.${n & 255}`;

// Others may talk in the same room: only what this run says counts.
const run = randomUUID();
const errors = []; // handshakes that failed, connections that were lost
const clients = Array.from({ length: count }, (_, n) => connect(n));

function connect(n) {
  const client = { connects: 0, instance: undefined, heard: new Map() };
  client.socket = io(url.href, {
    transports: ["polling", "websocket"],
    withCredentials: true, // keeps cookies, as a browser does
    forceNew: true, // a connection of its own
    agent: new Agent({ keepAlive: true, localAddress: values.hop ? address(n) : undefined }),
  });
  const { socket } = client;
  socket.on("connect", () => (client.connects += 1));
  socket.on("welcome", ({ instance }) => (client.instance = instance));
  socket.on("said", ({ text }) => {
    if (text.startsWith(run)) client.heard.set(text, (client.heard.get(text) ?? 0) + 1);
  });
  socket.on("connect_error", (error) => errors.push(`client ${n}: ${reason(error)}`));
  socket.on("disconnect", (why) => errors.push(`client ${n}: disconnected: ${why}`));
  return client;
}

// What a handshake failed with: the server's words are in the answer's body.
function reason(error) {
  const body = error.context?.responseText ?? "";
  return [error.message, error.description?.message ?? error.description, body].filter(Boolean).join(": ");
}

const upgraded = ({ socket }) => socket.connected && socket.io.engine.transport.name === "websocket";

async function until(holds) {
  while (!holds() && Date.now() < deadline) await new Promise((soon) => setTimeout(soon, 20));
}

await until(() => clients.every((client) => upgraded(client) && client.instance));

const speakers = new Map(clients.filter((client) => client.instance).map((client) => [client.instance, client]));
for (const [instance, client] of speakers) client.socket.emit("say", `${run}: hello from ${instance}`);
const heardAll = (client) =>
  client.heard.size === speakers.size && [...client.heard.values()].every((times) => times === 1);
await until(() => clients.every(heardAll));

const instances = {};
for (const { instance } of clients) if (instance) instances[instance] = (instances[instance] ?? 0) + 1;
const number = (holds) => clients.filter(holds).length;
console.log(
  JSON.stringify({
    clients: count,
    connected: number((client) => client.socket.connected),
    once: number((client) => client.connects === 1),
    upgraded: number(upgraded),
    instances,
    broadcasts: speakers.size,
    heardAll: number(heardAll),
    failures: errors.length,
    errors: errors.slice(0, 20),
  }),
);

for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => process.exit(0));
