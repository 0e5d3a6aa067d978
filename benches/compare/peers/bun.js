// Bun's own publish as a relay: every message to every client, its sender included.
//
//   bun bun.js PORT [deflate | tls]
//
// deflate: compressed again for each client, with a compressor that all connections share.
// tls: with cert.pem and key.pem of the working directory.
const [, , port = '0', extra] = process.argv;
const compresses = extra === 'deflate';
const tls = { cert: Bun.file('cert.pem'), key: Bun.file('key.pem') };

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: Number(port),
  ...(extra === 'tls' ? { tls } : {}),
  fetch(request, server) {
    if (server.upgrade(request)) return undefined;
    return new Response('this is a WebSocket relay\n', { status: 426 });
  },
  websocket: {
    perMessageDeflate: compresses ? { compress: 'shared', decompress: 'shared' } : false,
    idleTimeout: 0,
    backpressureLimit: 1 << 30,
    maxPayloadLength: 1 << 24,
    open(client) {
      client.subscribe('all');
    },
    message(client, message) {
      server.publish('all', message, compresses);
    },
  },
});
console.log(`listening on 127.0.0.1:${server.port}`);
process.on('SIGTERM', () => process.exit(0));
