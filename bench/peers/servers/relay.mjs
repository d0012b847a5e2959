// A relay without a document: each binary message goes to the others in the room, and nothing else happens.
// The floor of what a server of this kind can cost. Runs on Bun: bun relay.mjs PORT
Bun.serve({
  hostname: '127.0.0.1',
  port: Number(process.argv[2]),
  fetch (request, server) {
    const room = new URL(request.url).pathname
    return server.upgrade(request, { data: { room } }) ? undefined : new Response('a relay')
  },
  websocket: {
    idleTimeout: 600,
    perMessageDeflate: false,
    maxPayloadLength: 64 * 1024 * 1024,
    backpressureLimit: 64 * 1024 * 1024,
    open (socket) { socket.subscribe(socket.data.room) },
    message (socket, message) { socket.publish(socket.data.room, message) }
  }
})
