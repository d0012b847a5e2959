// Real Hocuspocus providers of three major versions, as peers for peers.mjs: a socket may carry many documents.
import * as Y from 'yjs'
import { WebSocket } from 'ws'
import * as v2 from 'hocuspocus2'
import * as v3 from 'hocuspocus3'
import * as v4 from 'hocuspocus4'

const VERSIONS = { 2: v2, 3: v3, 4: v4 }

// What a listener throws is reported by a browser, and the socket goes on; that of the package ws would be stuck.
const CLOSE_OF_VERSION_2 = /unknown type: 7$/
export const thrown = []

class BrowserSocket extends WebSocket {
  #guarded = new Map()

  addEventListener (type, listener) {
    const guarded = event => {
      try {
        listener(event)
      } catch (error) {
        if (!CLOSE_OF_VERSION_2.test(error.message)) throw error
        thrown.push(error.message)
      }
    }
    this.#guarded.set(listener, guarded)
    super.addEventListener(type, guarded)
  }

  removeEventListener (type, listener) {
    super.removeEventListener(type, this.#guarded.get(listener) ?? listener)
  }
}

export const openSocket = (url, version) => {
  const { HocuspocusProviderWebsocket } = VERSIONS[version]
  const socket = new HocuspocusProviderWebsocket({
    url, WebSocketPolyfill: BrowserSocket, delay: 200, minDelay: 100, maxDelay: 1000
  })
  const opened = { socket, version, closes: [], opens: 0 }
  socket.on('close', ({ event }) => opened.closes.push([event.code, String(event.reason ?? '')]))
  socket.on('open', () => { opened.opens += 1 })
  return opened
}

export const openDocument = ({ socket, version, closes }, room, client, options) => {
  const { HocuspocusProvider } = VERSIONS[version]
  const doc = new Y.Doc()
  if (client !== null) doc.clientID = client
  const memory = { token: options.token ?? null, stateless: [], scopes: [], denied: [], closed: [], asked: 0 }
  const peer = { doc, provider: null, closes, statuses: [], memory, thrown }
  peer.provider = new HocuspocusProvider({
    name: room,
    document: doc,
    websocketProvider: socket,
    // What an application gives when it is asked: by a new connection, or by the server.
    // Version 2 sends no Auth at all where it was given none, and cannot send an empty one.
    token: version === 2 && !options.token ? null : () => { memory.asked += 1; return memory.token },
    onStateless: ({ payload }) => memory.stateless.push(payload),
    onAuthenticated: () => memory.scopes.push(peer.provider.authorizedScope),
    onAuthenticationFailed: ({ reason }) => memory.denied.push(reason),
    onClose: ({ event }) => memory.closed.push(String(event.reason ?? '')),
    ...(version === 2 ? { broadcast: false } : {}),
    ...(version === 4 ? { sessionAwareness: options.sessionAwareness ?? false } : {})
  })
  if (version > 2) peer.provider.attach()
  return peer
}
