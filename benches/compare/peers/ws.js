// The npm package `ws` as a relay: every message to every client, its sender included.
//
// The frame is made once and written to each socket, which is the cheapest that `ws` offers; cork
// and uncork join what one turn of the event loop sends to a client into one write.
//
//   node ws.js PORT [deflate]
//
// deflate: `ws` compresses a message again for each client; its users then send like this.
'use strict';

const { Sender, WebSocketServer } = require('ws');

const [, , port = '0', extra] = process.argv;
const compresses = extra === 'deflate';
const server = new WebSocketServer({
  host: '127.0.0.1',
  port: Number(port),
  backlog: 4096,
  perMessageDeflate: compresses && {
    serverNoContextTakeover: true,
    clientNoContextTakeover: true,
    threshold: 0,
    zlibDeflateOptions: { level: 1 },
  },
});
const corked = new Set();

function uncork() {
  for (const socket of corked) socket.uncork();
  corked.clear();
}

function broadcast(data, isBinary) {
  const opcode = isBinary ? 2 : 1;
  const frame = Sender.frame(data, { fin: true, mask: false, opcode, readOnly: true, rsv1: false });
  for (const client of server.clients) {
    const socket = client._socket;
    if (!corked.has(socket)) {
      if (corked.size === 0) setImmediate(uncork);
      socket.cork();
      corked.add(socket);
    }
    for (const part of frame) socket.write(part);
  }
}

function sendToEach(data, isBinary) {
  for (const client of server.clients) client.send(data, { binary: isBinary });
}

server.on('connection', (client) => {
  client.on('message', compresses ? sendToEach : broadcast);
  client.on('error', () => {});
});
server.on('listening', () => console.log(`listening on 127.0.0.1:${server.address().port}`));
process.on('SIGTERM', () => process.exit(0));
