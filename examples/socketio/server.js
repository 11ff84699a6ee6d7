// The server: a chat room. What one client says is said to all, those of other replicas included, by way of Redis.
//   TENBIN_PORT      where to listen (8080)
//   TENBIN_INSTANCE  the name of this replica
//   REDIS_URL        redis://redis:6379

import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const port = Number(process.env.TENBIN_PORT ?? 8080);
const instance = process.env.TENBIN_INSTANCE ?? "local";
const publisher = createClient({ url: process.env.REDIS_URL ?? "redis://redis:6379" });
const subscriber = publisher.duplicate();
for (const client of [publisher, subscriber]) {
  // It connects again by itself; without a listener the first lost connection would end the process.
  client.on("error", (error) => console.error(`redis: ${error.message || error.code}`));
}

const http = createServer((request, response) => {
  const json = (status, body) => {
    response.writeHead(status, { "content-type": "application/json", "x-tenbin-instance": instance });
    response.end(`${JSON.stringify(body)}\n`);
  };
  switch (request.url.split("?", 1)[0]) {
    case "/":
      return json(200, { instance, sockets: io.engine.clientsCount });
    case "/healthz":
      // Without Redis a replica would be alone with its clients.
      return json(publisher.isReady && subscriber.isReady ? 200 : 503, { instance });
    default:
      return json(404, { accepted: ["/", "/healthz", "/socket.io/"] });
  }
});

const io = new Server(http);
io.on("connection", (socket) => {
  socket.emit("welcome", { instance });
  socket.on("say", (text) => io.emit("said", { by: socket.id, at: instance, text }));
});

await Promise.all([publisher.connect(), subscriber.connect()]);
io.adapter(createAdapter(publisher, subscriber));
http.listen(port, () => console.log(`${instance} listens on port ${port}`));

process.once("SIGTERM", async () => {
  console.log(`${instance} stops: its ${io.engine.clientsCount} clients connect again, elsewhere`);
  await io.close();
  process.exit(0); // Redis may be away: nothing is waited for
});
