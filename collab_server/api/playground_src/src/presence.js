// Who is here, where each one is, and what this user tells the others.
//
// The state has the product's shape: `user`, `status`, `cursor` (section, index, field, offset) and `typing`. This page
// adds `item`, `anchor` and `head` to the cursor: an item's id and two relative positions stay right while others edit.
// States come from others: each field is checked before it is shown.
import { h, short } from './dom.js'

const CURSOR_EVERY_MS = 50
const TYPING_EVERY_MS = 500
const TYPING_EXPIRES_MS = 3000
const IDLE_AFTER_MS = 5 * 60_000
const TICK_MS = 1000
const NAME_CHARACTERS_MAX = 32
const ID_CHARACTERS_MAX = 200
const COLOR = /^#[0-9a-f]{6}$/i
const COLORS = ['#d6336c', '#7048e8', '#1971c2', '#0c8599', '#2f9e44', '#e8590c', '#9c36b5', '#c2255c', '#5f3dc4', '#087f5b']
const FIRST = ['Quiet', 'Brave', 'Sunny', 'Swift', 'Merry', 'Gentle', 'Clever', 'Bold', 'Lucky', 'Kind']
const SECOND = ['Otter', 'Heron', 'Lynx', 'Finch', 'Fox', 'Badger', 'Swan', 'Marten', 'Owl', 'Hare']
const USER_KEY = 'collab-playground:user'

/** This tab's user. It lives in the tab, so that two windows of one browser are two people. */
export function loadUser () {
  try {
    const found = JSON.parse(sessionStorage.getItem(USER_KEY))
    if (typeof found?.id === 'string' && COLOR.test(found.color)) return found
  } catch { /* written by hand: make a new one */ }
  const pick = list => list[Math.floor(Math.random() * list.length)]
  return saveUser({
    id: crypto.randomUUID?.() ?? Math.random().toString(36).slice(2),
    name: `${pick(FIRST)} ${pick(SECOND)}`,
    color: pick(COLORS),
    avatar_url: ''
  })
}

function saveUser (user) {
  sessionStorage.setItem(USER_KEY, JSON.stringify(user))
  return user
}

export class Presence {
  /** `onchange(others)` gets the list of the others at most once per frame. */
  constructor (awareness, user, onchange) {
    this.awareness = awareness
    this.user = user
    this.onchange = onchange
    this.cursor = null
    this.typedAt = 0
    this.activeAt = Date.now()
    this.others = []
    awareness.on('change', () => this.#renderSoon())
    // A renewal carries no change, but says that somebody still types.
    awareness.on('update', () => this.#renderSoon())
    for (const sign of ['pointerdown', 'keydown']) addEventListener(sign, () => { this.activeAt = Date.now() }, true)
    setInterval(() => this.#tick(), TICK_MS)
    this.#publish()
  }

  /** The caret is here now (`null`: in no field). The newest position wins, at most one every 50 ms. */
  moveTo (cursor) {
    this.cursor = cursor
    this.activeAt = Date.now()
    this.timer ??= setTimeout(() => this.#publish(), CURSOR_EVERY_MS)
  }

  typed () {
    const now = Date.now()
    const due = now - this.typedAt > TYPING_EVERY_MS
    this.typedAt = now
    if (due) this.timer ??= setTimeout(() => this.#publish(), CURSOR_EVERY_MS)
  }

  rename (name) {
    this.user.name = short(name.trim(), NAME_CHARACTERS_MAX) || this.user.name
    saveUser(this.user)
    this.#publish()
  }

  /** Who is known here, this page's user first: `[{ client, id, name }]`. */
  everybody () {
    const you = { client: this.awareness.clientID, id: this.user.id, name: `${this.user.name} (you)` }
    return [you, ...this.others.map(({ client, id, name }) => ({ client, id, name }))]
  }

  #publish () {
    clearTimeout(this.timer)
    this.timer = null
    const now = Date.now()
    const idle = now - this.activeAt > IDLE_AFTER_MS
    const typing = now - this.typedAt < TYPING_EXPIRES_MS
    this.awareness.setLocalState({
      user: { ...this.user },
      status: idle ? 'idle' : this.cursor !== null ? 'editing' : document.hidden ? 'online' : 'viewing',
      cursor: this.cursor,
      typing
    })
  }

  #tick () {
    const told = this.awareness.getLocalState()
    const idle = Date.now() - this.activeAt > IDLE_AFTER_MS
    const typing = Date.now() - this.typedAt < TYPING_EXPIRES_MS
    if ((told?.typing ?? false) !== typing || (told?.status === 'idle') !== idle) this.#publish()
    if (this.others.some(other => other.typing)) this.#renderSoon()
  }

  #renderSoon () {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null
      this.others = this.#readOthers()
      this.onchange(this.others)
    })
  }

  #readOthers () {
    const now = Date.now()
    const others = []
    for (const [client, state] of this.awareness.getStates()) {
      if (client === this.awareness.clientID || typeof state !== 'object' || state === null) continue
      const heardAt = this.awareness.meta.get(client)?.lastUpdated ?? 0
      others.push({
        client,
        id: short(state.user?.id, ID_CHARACTERS_MAX),
        name: short(state.user?.name, NAME_CHARACTERS_MAX) || 'Somebody',
        color: COLOR.test(state.user?.color) ? state.user.color : COLORS[client % COLORS.length],
        status: short(state.status, 16) || 'online',
        typing: Boolean(state.typing) && now - heardAt < TYPING_EXPIRES_MS,
        cursor: typeof state.cursor === 'object' ? state.cursor : null
      })
    }
    return others.sort((a, b) => a.client - b.client)
  }
}

/** A round picture of initials. */
export function avatar ({ name, color, status, typing }, label = name) {
  const initials = name.split(/\s+/u).slice(0, 2).map(word => [...word][0] ?? '').join('').toUpperCase()
  const element = h('span', { class: 'avatar', role: 'img', 'aria-label': label, title: label, 'data-status': status }, initials)
  element.classList.toggle('typing', typing === true)
  element.style.setProperty('--who', color)
  return element
}
