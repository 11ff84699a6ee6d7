// A hop in front, as a load balancer at the edge would be one: it passes on what comes, WebSockets too, and says in
// X-Forwarded-For from which address it came.

import { Agent, createServer, request } from "node:http";

// Starts a hop that passes everything on to `target`. Its address.
export async function start(target) {
  // Connections are shared by all clients: whoever balances has to go by the header.
  const agent = new Agent({ keepAlive: true });
  const onward = (incoming, more) =>
    request(target, {
      ...more,
      method: incoming.method,
      path: incoming.url,
      headers: { ...incoming.headers, host: target.host, "x-forwarded-for": forwarded(incoming) },
    });

  const hop = createServer((incoming, answer) => {
    const out = onward(incoming, { agent });
    out.on("response", (response) => {
      answer.writeHead(response.statusCode, response.statusMessage, response.rawHeaders);
      response.pipe(answer);
    });
    out.on("error", (error) => {
      if (answer.headersSent) answer.destroy();
      else answer.writeHead(502).end(`hop: ${error.message}\n`);
    });
    answer.on("close", () => out.destroy());
    incoming.pipe(out);
  });

  hop.on("upgrade", (incoming, socket, head) => {
    const out = onward(incoming, { agent: false });
    socket.on("error", () => out.destroy());
    out.on("error", () => socket.destroy());
    out.on("response", (response) => {
      socket.end(`HTTP/1.1 ${response.statusCode} ${response.statusMessage}\r\nConnection: close\r\n\r\n`);
    });
    out.on("upgrade", (response, far, first) => {
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines(response.rawHeaders)}\r\n`);
      socket.write(first);
      far.write(head);
      far.on("error", () => socket.destroy());
      socket.on("error", () => far.destroy());
      far.pipe(socket).pipe(far);
    });
    out.end();
  });

  await new Promise((listening) => hop.listen(0, "127.0.0.1", listening));
  return new URL(`http://127.0.0.1:${hop.address().port}`);
}

function forwarded(incoming) {
  const before = incoming.headers["x-forwarded-for"];
  const peer = incoming.socket.remoteAddress;
  return before ? `${before}, ${peer}` : peer;
}

function lines(rawHeaders) {
  let text = "";
  for (let i = 0; i < rawHeaders.length; i += 2) text += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`;
  return text;
}
