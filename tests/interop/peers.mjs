// Real Yjs clients, driven from a Python test: one JSON command a line on stdin, one JSON answer a line on stdout.
// See peers.py for what the commands mean. The process ends when stdin does.
import { createHash } from 'node:crypto'
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises'
import { createInterface } from 'node:readline'
import * as Y from 'yjs'
import { WebSocket } from 'ws'
import { WebsocketProvider as Provider3 } from 'y-websocket'
import { WebsocketProvider as Provider2 } from 'y-websocket2'
import { openDocument, openSocket } from './hocuspocus.mjs'
import * as random from './random_edits.mjs'

process.setMaxListeners(0)

const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor
const peers = new Map()
const sockets = new Map()

const peerOf = id => {
  const peer = peers.get(id)
  if (!peer) throw new Error(`no peer ${id}`)
  return peer
}

// A promise that is settled at the next thing that happens to a peer, or a little later.
const nextChange = peer => new Promise(resolve => {
  const done = () => {
    clearTimeout(timer)
    peer.doc.off('update', done)
    peer.provider?.awareness.off('update', done)
    peer.provider?.off('status', done)
    peer.provider?.off('sync', done)
    resolve()
  }
  const timer = setTimeout(done, 25)
  peer.doc.on('update', done)
  peer.provider?.awareness.on('update', done)
  peer.provider?.on('status', done)
  peer.provider?.on('sync', done)
})

const until = async (peer, check, seconds, complaint) => {
  const deadline = Date.now() + seconds * 1000
  for (;;) {
    const found = await check()
    if (found) return found
    if (Date.now() > deadline) throw new Error(await complaint())
    await nextChange(peer)
  }
}

const sha = text => createHash('sha256').update(text).digest('hex').slice(0, 16)

const replica = doc => ({
  content: random.content(doc),
  snapshot: Buffer.from(Y.encodeSnapshot(Y.snapshot(doc))).toString('base64'),
  pending: doc.store.pendingStructs !== null || doc.store.pendingDs !== null
})

const describe = ids => ids.map(id => {
  const { doc, provider } = peerOf(id)
  const found = replica(doc)
  return `${id}: content ${sha(JSON.stringify(found.content))} snapshot ${sha(found.snapshot)} ` +
    `pending ${found.pending} connected ${provider?.wsconnected} synced ${provider?.synced}`
}).join('\n')

const commands = {
  open ({ id, url, room, version, client, options }) {
    if (peers.has(id)) throw new Error(`peer ${id} is open already`)
    const doc = new Y.Doc({ gc: options.gc ?? true })
    if (client !== null) doc.clientID = client
    const peer = { doc, provider: null, closes: [], statuses: [], memory: {} }
    const Provider = version === 2 ? Provider2 : Provider3
    peer.provider = new Provider(url, room, doc, {
      WebSocketPolyfill: WebSocket, disableBc: true, connect: false, params: options.params ?? {}, protocols: options.protocols ?? []
    })
    peer.provider.on('connection-close', event => peer.closes.push([event?.code ?? null, String(event?.reason ?? '')]))
    peer.provider.on('connection-error', () => {})
    peer.provider.on('status', ({ status }) => peer.statuses.push(status))
    peers.set(id, peer)
    if (options.connect ?? true) peer.provider.connect()
  },

  openSocket ({ id, url, version }) {
    if (sockets.has(id)) throw new Error(`socket ${id} is open already`)
    sockets.set(id, openSocket(url, version))
  },

  openDocument ({ id, socket, room, client, options }) {
    if (peers.has(id)) throw new Error(`peer ${id} is open already`)
    if (!sockets.has(socket)) throw new Error(`no socket ${socket}`)
    peers.set(id, openDocument(sockets.get(socket), room, client, options))
  },

  closeSocket ({ id }) {
    sockets.get(id).socket.destroy()
    sockets.delete(id)
  },

  async synced ({ ids, seconds }) {
    for (const id of ids) {
      const peer = peerOf(id)
      await until(peer, () => peer.provider.synced, seconds, () => `not synced after ${seconds} s: \n${describe(ids)}`)
    }
  },

  async run ({ id, code, args }) {
    const peer = peerOf(id)
    const { doc, provider } = peer
    const call = new AsyncFunction('Y', 'doc', 'provider', 'awareness', 'peer', 'memory', 'args', 'WebSocket', 'delay', code)
    return await call(Y, doc, provider, provider?.awareness, peer, peer.memory, args, WebSocket, delay) ?? null
  },

  async wait ({ id, code, args, seconds }) {
    const peer = peerOf(id)
    const { doc, provider } = peer
    const check = new AsyncFunction('Y', 'doc', 'provider', 'awareness', 'peer', 'memory', 'args', `return (${code})`)
    return await until(
      peer, () => check(Y, doc, provider, provider?.awareness, peer, peer.memory, args), seconds,
      async () => `${id}: after ${seconds} s still not: ${code}\nclosed: ${JSON.stringify(peer.closes)}\n` +
        `awareness: ${JSON.stringify(provider ? [...provider.awareness.getStates()] : null)}`.slice(0, 2000)
    )
  },

  async edit ({ ids, seed, steps, kinds, pause }) {
    await Promise.all(ids.map(async (id, index) => {
      const { doc } = peerOf(id)
      const dice = random.generator(seed * 1000 + index)
      for (let step = 0; step < steps; step++) {
        random.edit(doc, dice, kinds)
        if (pause > 0) await delay(dice.int(pause)); else await turn()
      }
    }))
  },

  // Waits until all replicas are the same: same structs, same deletions, same content, nothing missing.
  async converge ({ ids, seconds }) {
    const first = peerOf(ids[0])
    await until(first, () => {
      const wanted = Y.snapshot(first.doc)
      return ids.every(id => {
        const { doc } = peerOf(id)
        return doc.store.pendingStructs === null && doc.store.pendingDs === null &&
          Y.equalSnapshots(wanted, Y.snapshot(doc))
      })
    }, seconds, () => `not converged after ${seconds} s:\n${describe(ids)}`)
    const wanted = JSON.stringify(random.content(first.doc))
    for (const id of ids) {
      const found = JSON.stringify(random.content(peerOf(id).doc))
      if (found !== wanted) throw new Error(`equal snapshots but other content: ${id}\n${found.slice(0, 1000)}\n${wanted.slice(0, 1000)}`)
    }
    return { content: JSON.parse(wanted), snapshot: replica(first.doc).snapshot }
  },

  close ({ id }) {
    const { doc, provider } = peerOf(id)
    provider?.destroy()
    doc.destroy()
    peers.delete(id)
  },

  // A subdocument is a room of its own: the test opens it as a peer of the process.
  openSubdoc ({ id, parent, path, url, version }) {
    const doc = peerOf(parent).doc.getMap('subdocs').get(path)
    const peer = { doc, provider: null, closes: [], statuses: [], memory: {} }
    doc.load()
    const Provider = version === 2 ? Provider2 : Provider3
    peer.provider = new Provider(url, doc.guid, doc, { WebSocketPolyfill: WebSocket, disableBc: true })
    peers.set(id, peer)
    return doc.guid
  }
}

const answer = message => process.stdout.write(JSON.stringify(message) + '\n')

createInterface({ input: process.stdin }).on('line', async line => {
  const { call, command, ...args } = JSON.parse(line)
  try {
    answer({ call, value: await commands[command](args) ?? null })
  } catch (error) {
    answer({ call, error: String(error?.stack ?? error) })
  }
}).on('close', () => process.exit(0))
