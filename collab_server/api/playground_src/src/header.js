// The bar on top: who is here, whether the connection stands, whether everything is saved, and the way to other trips.
import { wantsToken } from './closecodes.js'
import { h, icon, iconButton } from './dom.js'
import { avatar } from './presence.js'
import { addressOf, newRoomName, open, ownAddress, recentRooms, room, token, useToken } from './room.js'

const AVATARS_MAX = 5
const STATES = {
  connecting: 'Connecting…',
  connected: 'Connected',
  reconnecting: 'Reconnecting…',
  offline: 'Offline',
  closed: 'Disconnected'
}

export class Header {
  constructor (root, { trip, connection, user, onrename, onhistory }) {
    this.trip = trip
    this.connection = connection
    this.others = []
    this.people = h('div', { class: 'people', 'data-testid': 'people', role: 'group', 'aria-label': 'People here' })
    this.state = h('span', { class: 'state-text' })
    this.count = h('span', { class: 'state-count', 'data-testid': 'people-count' })
    this.indicator = h('div', { class: 'state', role: 'status', 'data-testid': 'connection' }, h('span', { class: 'dot' }), this.state, this.count)
    this.saved = h('span', { class: 'saved', role: 'status', 'data-testid': 'saved' })
    this.offline = h('input', { type: 'checkbox', role: 'switch', 'data-testid': 'offline-switch' })
    this.offline.addEventListener('change', () => connection.setOffline(this.offline.checked))
    this.undo = iconButton('undo', 'Undo', () => trip.undo.undo(), { 'data-testid': 'undo' })
    this.redo = iconButton('redo', 'Redo', () => trip.undo.redo(), { 'data-testid': 'redo' })
    for (const event of ['stack-item-added', 'stack-item-popped', 'stack-cleared']) trip.undo.on(event, () => this.render())
    this.banner = h('div', { class: 'banner', role: 'alert', 'data-testid': 'banner', hidden: true })
    root.append(
      h('div', { class: 'bar' },
        roomMenu(),
        h('div', { class: 'bar-status' }, this.indicator, this.saved),
        h('div', { class: 'bar-actions' },
          this.undo, this.redo,
          h('label', { class: 'switch', title: 'Cut this window off; edits go on here' }, this.offline, h('span', { class: 'switch-track' }), h('span', { class: 'switch-text' }, 'Work offline')),
          h('button', { type: 'button', class: 'bar-button', 'data-testid': 'history', 'aria-haspopup': 'dialog', 'aria-label': 'History', title: 'History', onclick: onhistory },
            icon('history'), h('span', { class: 'bar-button-text' }, 'History')),
          this.people, meMenu(user, onrename), shareMenu())),
      this.banner)
    this.render()
  }

  showOthers (others) {
    this.others = others
    this.render()
  }

  render () {
    const { state, unsaved, saving, notice } = this.connection.view()
    const count = this.others.length + 1
    this.indicator.dataset.state = state
    this.state.textContent = STATES[state]
    this.count.textContent = state === 'connected' ? `${count} ${count === 1 ? 'person' : 'people'}` : ''
    this.saved.dataset.saving = saving
    this.saved.dataset.unsaved = String(unsaved)
    const changes = `${unsaved} unsynced ${unsaved === 1 ? 'change' : 'changes'}`
    this.saved.textContent = {
      local: unsaved === 0 ? '' : changes,
      saving: 'Saving…',
      saved: 'All changes saved',
      sent: 'Sent; this server confirms no saves',
      refused: 'Not shared'
    }[saving]
    this.offline.checked = this.connection.offline
    const { undoStack, redoStack } = this.trip.undo
    this.undo.disabled = undoStack.length === 0
    this.redo.disabled = redoStack.length === 0
    this.#renderPeople()
    this.#renderBanner(notice)
  }

  #renderPeople () {
    const signature = JSON.stringify(this.others.map(({ client, name, color, status, typing }) => [client, name, color, status, typing]))
    if (signature === this.drawnPeople) return
    this.drawnPeople = signature
    const shown = this.others.slice(0, AVATARS_MAX).map(other => avatar(other, `${other.name}: ${other.typing ? 'typing' : other.status}`))
    const more = this.others.length - shown.length
    if (more > 0) shown.push(h('span', { class: 'avatar more' }, `+${more}`))
    this.people.replaceChildren(...shown)
  }

  #renderBanner (notice) {
    const drawn = notice?.text == null ? null : `${notice.code} ${notice.reason ?? ''}`
    if (this.banner.hidden === (drawn === null) && this.drawnNotice === drawn) return
    this.drawnNotice = drawn
    this.banner.hidden = drawn === null
    if (drawn === null) return
    this.banner.dataset.code = String(notice.code)
    this.banner.dataset.retry = notice.retry
    this.banner.replaceChildren(...[
      icon('notice'), h('span', {}, notice.text),
      notice.reason ? h('small', { 'data-testid': 'reason' }, notice.reason) : null,
      ...this.#actions(notice)
    ].filter(part => part !== null))
  }

  #actions ({ code, retry }) {
    const button = (text, onclick, props) => h('button', { type: 'button', onclick, ...props }, text)
    if (code === 4404) return [button('Start a new trip', () => open(newRoomName()), { class: 'primary' })]
    if (retry === 'discard') return [button('Discard my changes', () => this.connection.discard(), { 'data-testid': 'discard' })]
    if (retry !== 'final') return []
    return [...(wantsToken(code) ? [tokenForm()] : []), button('Try again', () => this.connection.retry())]
  }
}

/** For who has a token, as `collab-server token` prints it. It stays in this window. */
function tokenForm () {
  const input = h('input', {
    type: 'password', 'aria-label': 'Token', placeholder: token === undefined ? 'Paste a token' : 'Paste another token', 'data-testid': 'token', autocomplete: 'off', required: true
  })
  const submit = event => {
    event.preventDefault()
    if (input.value.trim() !== '') useToken(input.value.trim())
  }
  return h('form', { class: 'token-form', onsubmit: submit, title: 'collab-server token prints one' }, input, h('button', { type: 'submit', class: 'primary' }, 'Use it'))
}

function roomMenu () {
  const input = h('input', { type: 'text', value: room, 'aria-label': 'Name of the room', 'data-testid': 'room', maxLength: 200, autocomplete: 'off', spellcheck: false })
  const go = event => {
    event.preventDefault()
    const name = input.value.trim()
    if (name !== '' && name !== room) open(name)
  }
  const recent = recentRooms().filter(entry => entry.room !== room).map(entry =>
    h('li', {}, h('button', { type: 'button', class: 'menu-item', onclick: () => open(entry.room) },
      h('span', {}, entry.title || 'Untitled trip'), h('small', {}, entry.room))))
  return menu('brand', [icon('map'), h('span', { class: 'brand-name' }, 'Playground'), h('span', { class: 'brand-room' }, room)], 'Choose a trip', [
    h('form', { class: 'menu-form', onsubmit: go }, h('label', {}, 'Room', input), h('button', { type: 'submit' }, 'Open')),
    h('button', { type: 'button', class: 'menu-item', 'data-testid': 'new-trip', onclick: () => open(newRoomName()) }, icon('plus'), 'New trip'),
    recent.length > 0 ? h('div', { class: 'menu-title' }, 'Lately') : null,
    recent.length > 0 ? h('ul', { class: 'menu-list' }, ...recent) : null
  ])
}

function shareMenu () {
  const copy = h('button', { type: 'button', class: 'menu-item', 'data-testid': 'copy-link' }, icon('link'), h('span', {}, 'Copy link'))
  copy.addEventListener('click', async () => {
    let text = 'Copied'
    try {
      await navigator.clipboard.writeText(addressOf(room))
    } catch {
      text = addressOf(room) // no clipboard on a plain http address: show it instead
    }
    copy.lastChild.textContent = text
  })
  return menu('share', [icon('share'), h('span', {}, 'Share')], 'Share this trip', [
    copy,
    h('button', { type: 'button', class: 'menu-item', 'data-testid': 'second-window', onclick: () => window.open(ownAddress(), '_blank', 'noopener') },
      icon('window'), h('span', {}, 'Open a second window')),
    h('p', { class: 'hint' }, 'Another window is another person: put the two side by side.')
  ])
}

function meMenu (user, onrename) {
  const input = h('input', { type: 'text', value: user.name, 'aria-label': 'Your name', 'data-testid': 'my-name', maxLength: 32, autocomplete: 'off', spellcheck: false })
  const summary = [avatar({ ...user, status: 'online' }, `You: ${user.name}`)]
  const element = menu('me', summary, 'You', [h('label', { class: 'menu-form' }, 'Your name', input)])
  input.addEventListener('input', () => {
    onrename(input.value)
    element.querySelector('.avatar').replaceWith(avatar({ ...user, status: 'online' }, `You: ${user.name}`))
  })
  return element
}

/** A button that opens a small panel; a click elsewhere or Escape closes it. */
function menu (name, summary, label, content) {
  const element = h('details', { class: `menu menu-${name}` },
    h('summary', { 'aria-label': label, 'data-testid': `menu-${name}` }, ...summary),
    h('div', { class: 'menu-panel' }, ...content.filter(part => part !== null)))
  addEventListener('pointerdown', event => { if (!element.contains(event.target)) element.open = false })
  element.addEventListener('keydown', event => {
    if (event.key === 'Escape') {
      element.open = false
      element.querySelector('summary').focus()
    }
  })
  return element
}
