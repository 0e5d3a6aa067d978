// Bun's own publish as a relay: every message to every client, its sender included.
const server = Bun.serve({
  hostname: '127.0.0.1',
  port: Number(process.argv[2] ?? 0),
  fetch(request, server) {
    if (server.upgrade(request)) return undefined;
    return new Response('this is a WebSocket relay\n', { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    idleTimeout: 0,
    backpressureLimit: 1 << 30,
    maxPayloadLength: 1 << 24,
    open(client) {
      client.subscribe('all');
    },
    message(client, message) {
      server.publish('all', message);
    },
  },
});
console.log(`listening on 127.0.0.1:${server.port}`);
process.on('SIGTERM', () => process.exit(0));
