// The connection to the room: y-websocket with the local copy, and the words for its state.
//
// "Saved" is the server's word. After local edits the page sends `102, varBytes(n)`; the server echoes it once
// everything that this connection sent before is committed. A server that never answers is not taken for a safe one.
import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import { IndexeddbPersistence } from 'y-indexeddb'
import { WebsocketProvider } from 'y-websocket'
import { meaningOf, refusal } from './closecodes.js'

const MESSAGE_SYNC = 0
const MESSAGE_AUTH = 2
const SYNC_STEP_1 = 0
const MESSAGE_SYNC_STATUS = 102
const ASK_EVERY_MS = 100
const NO_ANSWER_MS = 5000
const LOCAL_COPY_PATIENCE_MS = 2000
const BACKOFF_MS = { soon: 2000, later: 8000 }
const SLOW_RETRY_TRIES = 6 // 2**6 * 100 ms: y-websocket's own back-off, without its first quick tries

export class Connection {
  /** `onchange()` is called after any change of what `view()` returns. */
  constructor ({ doc, base, room, params, onchange }) {
    this.doc = doc
    this.room = room
    this.onchange = onchange
    this.closed = null // the meaning of the last close code until the next sync
    this.refused = null // why edits of this page were not taken
    this.everSynced = false
    this.made = 0 // local changes counted, and how many of them the server has committed
    this.saved = 0
    this.serverConfirms = null // null: not known yet
    this.storageKey = `collab-playground:unsaved:${base}/${room}`
    this.offline = sessionStorage.getItem('collab-playground:offline') === 'yes'
    this.localCopy = new IndexeddbPersistence(`collab-playground:${base}/${room}`, doc)
    this.provider = new WebsocketProvider(base, encodeURIComponent(room), doc, {
      connect: false,
      disableBc: true, // two windows shall meet through the server only: that is what is shown here
      params,
      shouldReconnect: event => meaningOf(event.code).retry !== 'final'
    })
    this.awareness = this.provider.awareness
    this.#countChanges()
    this.#listen()
  }

  /** Loads the local copy, then connects. A browser without storage only connects. */
  async start () {
    const patience = new Promise(resolve => setTimeout(resolve, LOCAL_COPY_PATIENCE_MS))
    await Promise.race([this.localCopy.whenSynced, patience])
    // Changes of an earlier visit that the server has not confirmed are in the local copy.
    this.made += Number(sessionStorage.getItem(this.storageKey) ?? 0)
    if (!this.offline) this.provider.connect()
    this.onchange()
  }

  setOffline (offline) {
    this.offline = offline
    sessionStorage.setItem('collab-playground:offline', offline ? 'yes' : 'no')
    if (offline) this.provider.disconnect()
    else this.provider.connect()
    this.onchange()
  }

  /** Tries again after a final close code. */
  retry () {
    this.closed = null
    this.provider.connect()
    this.onchange()
  }

  /** Begins anew without what was refused: Yjs cannot take it out of the document. */
  async discard () {
    this.provider.destroy()
    sessionStorage.removeItem(this.storageKey)
    const patience = new Promise(resolve => setTimeout(resolve, LOCAL_COPY_PATIENCE_MS)) // another window may have it open
    await Promise.race([this.localCopy.clearData(), patience])
    location.reload()
  }

  /** `{ state, unsaved, saving, notice }`: state is offline, closed, connected, connecting or reconnecting. */
  view () {
    const connected = this.provider.wsconnected && this.provider.synced
    const state = this.offline
      ? 'offline'
      : this.closed?.retry === 'final'
        ? 'closed'
        : connected ? 'connected' : this.everSynced ? 'reconnecting' : 'connecting'
    const unsaved = this.made - this.saved
    const saving = !connected
      ? 'local'
      : this.refused !== null
        ? 'refused'
        : this.serverConfirms === false ? 'sent' : unsaved === 0 ? 'saved' : 'saving'
    const notice = this.closed?.retry !== 'final' && this.refused !== null ? refusal(this.refused) : this.closed
    return { state, unsaved, saving, notice: this.offline ? null : notice }
  }

  #countChanges () {
    this.doc.on('update', (_update, origin) => {
      if (origin === this.provider || origin === this.localCopy) return
      this.made++
      this.#remember()
      this.#askSoon()
      this.onchange()
    })
  }

  #listen () {
    const provider = this.provider
    provider.messageHandlers[MESSAGE_SYNC_STATUS] = (_encoder, decoder) => {
      const payload = decoding.createDecoder(decoding.readVarUint8Array(decoder))
      this.saved = Math.max(this.saved, Math.min(decoding.readVarUint(payload), this.made))
      this.serverConfirms = true
      this.#remember()
      this.onchange()
    }
    // "Permission denied": either an edit was not taken, or a close code follows that says more.
    provider.messageHandlers[MESSAGE_AUTH] = (_encoder, decoder) => {
      if (decoding.readVarUint(decoder) !== 0) return
      this.refused ??= decoding.readVarString(decoder)
      this.onchange()
    }
    const sync = provider.messageHandlers[MESSAGE_SYNC]
    provider.messageHandlers[MESSAGE_SYNC] = (encoder, decoder, ...rest) => {
      const kind = decoder.arr[decoder.pos]
      sync(encoder, decoder, ...rest)
      if (kind === SYNC_STEP_1) {
        // The answer, with all edits that the server lacks, leaves when this handler has returned; ask behind it.
        queueMicrotask(() => {
          this.answeredOn = provider.ws
          this.#ask()
        })
      }
    }
    provider.on('status', ({ status }) => {
      // The goodbye of the last connection had this state's clock: only a newer one is believed again.
      if (status === 'connected') this.awareness.setLocalState(this.awareness.getLocalState())
      this.onchange()
    })
    provider.on('sync', synced => {
      if (synced) {
        this.everSynced = true
        if (this.closed?.retry !== 'later') this.closed = null
      }
      this.onchange()
    })
    provider.on('connection-close', event => {
      if (event !== null) {
        this.closed = meaningOf(event.code, event.reason)
        if (this.closed.retry === 'final') this.refused = null
        const later = this.closed.retry === 'later'
        // Spread out: after a restart everybody comes back at once.
        provider.maxBackoffTime = BACKOFF_MS[later ? 'later' : 'soon'] * (0.5 + Math.random() / 2)
        if (later) provider.wsUnsuccessfulReconnects = Math.max(provider.wsUnsuccessfulReconnects, SLOW_RETRY_TRIES)
      }
      this.onchange()
    })
    provider.on('closed', () => this.onchange())
  }

  #askSoon () {
    this.askTimer ??= setTimeout(() => this.#ask(), ASK_EVERY_MS)
  }

  // Until this connection has answered the server's step 1, the server may lack edits made while offline.
  #ask () {
    clearTimeout(this.askTimer)
    this.askTimer = null
    const ws = this.provider.ws
    if (ws === null || ws !== this.answeredOn || ws.readyState !== WebSocket.OPEN) return
    const payload = encoding.createEncoder()
    encoding.writeVarUint(payload, this.made)
    const frame = encoding.createEncoder()
    encoding.writeVarUint(frame, MESSAGE_SYNC_STATUS)
    encoding.writeVarUint8Array(frame, encoding.toUint8Array(payload))
    ws.send(encoding.toUint8Array(frame))
    if (this.serverConfirms === false) this.#sentIsAll()
    if (this.serverConfirms === null) {
      this.noAnswerTimer ??= setTimeout(() => {
        this.serverConfirms ??= false
        this.#sentIsAll()
      }, NO_ANSWER_MS)
    }
  }

  // A server without this message: what was sent is all that can be known, and the page says so.
  #sentIsAll () {
    if (this.serverConfirms === false && this.provider.ws !== null && this.provider.ws === this.answeredOn) {
      this.saved = this.made
      this.#remember()
    }
    this.onchange()
  }

  #remember () {
    if (this.saved === this.made && this.closed?.retry === 'later') this.closed = null
    sessionStorage.setItem(this.storageKey, String(this.made - this.saved))
  }
}
