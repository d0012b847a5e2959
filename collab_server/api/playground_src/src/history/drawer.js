// The drawer: the list of versions, newest first, and beside it the one that was chosen.
//
// The server makes an automatic version of everything written so far whenever the list is asked for, so the newest line
// is the trip as it is.
import { h, icon, iconButton, short } from '../dom.js'
import { ask, keepFocusInside } from './dialog.js'
import { Detail } from './detail.js'
import { clock, clockWithSeconds, dayName, full, moment, relative } from './times.js'

const RELATIVE_EVERY_MS = 20_000
const NAME_CHARACTERS_MAX = 100
const AUTHORS_MAX = 3
const NARROW = matchMedia('(max-width: 60rem)')

export class HistoryDrawer {
  /** `people()` returns who is known by name: `[{ client, id, name }]`. */
  constructor ({ client, connection, doc, toast, people }) {
    this.client = client
    this.connection = connection
    this.doc = doc
    this.toast = toast
    this.people = people
    this.versions = []
    this.next = null
    this.loads = 0
    this.rows = new Map() // id -> button
    this.detail = new Detail({
      client,
      people,
      onback: () => this.#choose(null),
      onrestore: version => this.#restore(version),
      onedit: (version, fields) => this.#edit(version, fields),
      ondelete: version => this.#delete(version),
      authors: version => this.#authors(version)
    })
    this.onupdate = () => { this.newer.hidden = this.versions.length === 0 }
    this.element = this.#build()
  }

  get isOpen () {
    return this.element.open
  }

  open () {
    if (this.isOpen) return
    this.opener = document.activeElement
    this.toast.hide()
    document.body.append(this.element)
    this.#choose(null)
    this.element.showModal()
    this.doc.on('update', this.onupdate)
    this.timer = setInterval(() => this.#renew(), RELATIVE_EVERY_MS)
    this.load()
  }

  /** Loads the first page again; returns whether it could. */
  async load () {
    const load = ++this.loads
    this.newer.hidden = true
    this.element.setAttribute('aria-busy', 'true')
    if (this.versions.length === 0) this.#say('Loading…')
    try {
      const page = await this.#online(() => this.client.list())
      if (load !== this.loads) return false
      this.versions = page.versions
      this.next = page.next
      this.#say(page.versions.length > 0 ? '' : 'No versions yet. The first one appears as soon as somebody has written something.')
      this.#render()
      return true
    } catch (error) {
      if (load === this.loads) this.#fail(error, () => this.load())
      return false
    } finally {
      if (load === this.loads) this.element.removeAttribute('aria-busy')
    }
  }

  async #loadMore () {
    const load = ++this.loads
    this.more.disabled = true
    try {
      const page = await this.#online(() => this.client.list(this.next))
      if (load !== this.loads) return
      const known = new Set(this.versions.map(version => version.id))
      const added = page.versions.filter(version => !known.has(version.id))
      this.versions.push(...added)
      this.next = page.next
      this.#say('')
      this.#render()
      this.rows.get(added[0]?.id)?.focus()
    } catch (error) {
      if (load === this.loads) this.#fail(error, () => this.#loadMore())
    } finally {
      this.more.disabled = false
    }
  }

  #build () {
    this.status = h('p', { class: 'history-status', role: 'status', 'data-testid': 'history-status' })
    this.again = h('button', { type: 'button', class: 'plain-button', 'data-testid': 'history-again', hidden: true }, 'Try again')
    this.newer = h('button', { type: 'button', class: 'history-newer', 'data-testid': 'history-newer', hidden: true, onclick: () => this.load() }, 'There are newer edits: show them')
    this.list = h('div', { class: 'history-list', 'data-testid': 'versions' })
    this.more = h('button', { type: 'button', class: 'plain-button history-more', 'data-testid': 'history-more', hidden: true, onclick: () => this.#loadMore() }, 'Load more')
    this.list.addEventListener('keydown', event => this.#walk(event))
    const element = h('dialog', { class: 'history', 'aria-labelledby': 'history-title', 'data-testid': 'history-drawer' },
      h('div', { class: 'history-side' },
        h('div', { class: 'history-head' },
          h('h2', { id: 'history-title' }, 'History'),
          iconButton('close', 'Close the history', () => element.close(), { 'data-testid': 'history-close' })),
        this.#namer(),
        h('div', { class: 'history-scroll' }, this.newer, this.status, this.again, this.list, this.more)),
      this.detail.element)
    element.addEventListener('close', () => this.#closed())
    element.addEventListener('pointerdown', event => { if (event.target === element) element.close() }) // beside it
    keepFocusInside(element)
    return element
  }

  #namer () {
    const button = h('button', { type: 'button', class: 'plain-button', 'data-testid': 'name-version', 'aria-expanded': 'false' }, icon('flag'), 'Name this version')
    const name = h('input', { type: 'text', required: true, maxLength: NAME_CHARACTERS_MAX, placeholder: 'e.g. Before the booking', 'data-testid': 'version-name', autocomplete: 'off' })
    const pinned = h('input', { type: 'checkbox', 'data-testid': 'version-pinned' })
    const save = h('button', { type: 'submit', class: 'primary', 'data-testid': 'version-save' }, 'Save')
    const fault = h('p', { class: 'fault', role: 'alert' })
    const form = h('form', { class: 'namer', hidden: true },
      h('label', {}, 'Name of the trip as it is now', name),
      h('label', { class: 'check' }, pinned, 'Keep it for good'),
      h('div', { class: 'namer-actions' }, save, h('button', { type: 'button', class: 'plain-button', onclick: () => show(false) }, 'Cancel')),
      fault)
    const show = shown => {
      form.hidden = !shown
      button.hidden = shown
      button.setAttribute('aria-expanded', String(shown))
      fault.textContent = ''
      if (shown) form.reset()
      ;(shown ? name : button).focus()
    }
    button.addEventListener('click', () => show(true))
    form.addEventListener('keydown', event => {
      if (event.key !== 'Escape') return
      event.preventDefault() // the form, not the drawer
      show(false)
    })
    form.addEventListener('submit', async event => {
      event.preventDefault()
      if (name.value.trim() === '' || save.disabled) return
      save.disabled = true
      try {
        await this.#online(() => this.client.create(name.value.trim(), pinned.checked))
        show(false)
        await this.load()
      } catch (error) {
        fault.textContent = error.message
      } finally {
        save.disabled = false
      }
    })
    this.closeNamer = () => { if (!form.hidden) show(false) }
    return h('div', { class: 'history-namer' }, button, form)
  }

  #render () {
    const focused = [...this.rows].find(([, row]) => row === document.activeElement)?.[0]
    this.rows.clear()
    const groups = new Map()
    for (const version of this.versions) {
      const day = dayName(version.at_ms)
      if (!groups.has(day)) groups.set(day, [])
      groups.get(day).push(version)
    }
    const newest = this.versions[0]
    const minutes = this.versions.filter(version => version.kind !== 'named').map(version => minuteOf(version))
    this.sameMinute = new Set(minutes.filter((minute, index) => minutes[index + 1] === minute))
    this.list.replaceChildren(...[...groups].map(([day, versions], index) => h('section', { 'aria-labelledby': `history-day-${index}` },
      h('h3', { id: `history-day-${index}` }, day),
      h('ol', { class: 'versions' }, ...versions.map(version => h('li', {}, this.#row(version, version === newest)))))))
    this.more.hidden = this.next === null
    if (this.chosen !== null) {
      const now = this.versions.find(version => version.id === this.chosen.id)
      if (now !== undefined) this.chosen = now
      this.#mark()
    }
    this.rows.get(focused)?.focus()
  }

  #row (version, isNewest) {
    const named = version.kind === 'named'
    const name = named ? short(version.name, 200) || 'Without a name' : this.sameMinute.has(minuteOf(version)) ? clockWithSeconds(version.at_ms) : clock(version.at_ms)
    const authors = this.#authors(version)
    const facts = [
      named ? clock(version.at_ms) : isNewest ? 'the trip as it is' : null,
      version.updates > 0 ? `${version.updates} ${version.updates === 1 ? 'edit' : 'edits'}` : null,
      authors === '' ? null : named ? `by ${authors}` : authors
    ].filter(fact => fact !== null)
    const row = h('button', { type: 'button', class: `version version-${named ? 'named' : 'automatic'}`, 'data-testid': 'version', 'data-id': version.id, 'data-kind': version.kind },
      h('span', { class: 'version-dot' }, named ? icon('flag') : null),
      h('span', { class: 'version-name' }, name, version.pinned ? h('span', { class: 'version-pin', role: 'img', 'aria-label': 'pinned', title: 'Kept for good' }, icon('pin')) : null),
      h('time', { dateTime: new Date(version.at_ms).toISOString(), title: full(version.at_ms), 'data-ms': String(version.at_ms) }, relative(version.at_ms)),
      h('span', { class: 'version-facts' }, facts.join(' · ')))
    row.addEventListener('click', () => this.#choose(version))
    this.rows.set(version.id, row)
    return row
  }

  // Ids of people who are here have a name; an id that nobody here has is shown as it is.
  #authors (version) {
    const names = new Map(this.people().map(({ id, name }) => [id, name]))
    const authors = Array.isArray(version.authors) ? version.authors : []
    const shown = authors.slice(0, AUTHORS_MAX).map(id => names.get(id) ?? short(id, 40))
    return shown.join(', ') + (authors.length > shown.length ? ` and ${authors.length - shown.length} more` : '')
  }

  #choose (version) {
    const before = this.chosen
    this.chosen = version
    this.element.classList.toggle('with-detail', version !== null)
    this.#mark()
    if (version === null) {
      this.detail.hide()
      if (before) this.rows.get(before.id)?.focus()
    } else {
      this.detail.show(version)
      if (NARROW.matches) this.detail.focus() // the list is behind it
    }
  }

  #mark () {
    for (const [id, row] of this.rows) {
      if (id === this.chosen?.id) row.setAttribute('aria-current', 'true')
      else row.removeAttribute('aria-current')
    }
  }

  // Up and down walk through the versions, over the days.
  #walk (event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (step === undefined) return
    const rows = [...this.rows.values()]
    const target = rows[rows.indexOf(document.activeElement) + step]
    event.preventDefault()
    target?.focus()
  }

  async #restore (version) {
    const named = version.kind === 'named' ? `“${short(version.name, 80)}”` : moment(version.at_ms)
    const sure = await ask('Restore this version?', [
      `The trip will be as it was: ${named}. This is an edit like any other: everybody sees it at once.`,
      'Nothing is lost. The trip as it is now stays in the history, so another restore undoes this one.'
    ], 'Restore')
    if (!sure) return
    const { before, restored } = await this.#online(() => this.#goBack(version.id))
    this.element.close()
    if (!restored) this.toast.show('Nothing to restore: the trip is as it was then.')
    else this.toast.show(`Restored: ${named}. Everybody sees it.`, before === null ? null : 'Undo', () => this.#undo(before))
  }

  async #undo (before) {
    this.toast.show('Undoing the restore…')
    try {
      await this.#online(() => this.#goBack(before))
      this.toast.show('The restore was undone.')
    } catch (error) {
      this.toast.show(`Not undone. ${error.message}`, 'Try again', () => this.#undo(before))
    }
  }

  // Asking for the list is what puts the trip of this moment into it: its newest line is the way back.
  async #goBack (id) {
    const { versions } = await this.client.list()
    const answer = await this.client.restore(id)
    const before = versions.find(version => version.kind !== 'named') ?? versions[0]
    return { before: before?.id ?? null, restored: answer.restored !== false }
  }

  async #edit (version, fields) {
    const changed = await this.#online(() => this.client.change(version.id, fields))
    Object.assign(version, changed)
    this.#render()
  }

  async #delete (version) {
    const sure = await ask('Delete this named version?', [
      'Only the name and its own copy go. The trip stays as it is, and so do the automatic versions of that time.'
    ], 'Delete')
    if (!sure) return
    await this.#online(() => this.client.remove(version.id))
    this.#choose(null)
    this.versions = this.versions.filter(other => other.id !== version.id)
    this.#render()
    ;(this.rows.values().next().value ?? this.element.querySelector('button')).focus()
  }

  // The history is kept by the server alone.
  async #online (make) {
    if (this.connection.offline) throw new Error('You are working offline, and the history is kept on the server. Go online to see it.')
    return await make()
  }

  #fail (error, again) {
    this.#say(error.message)
    this.status.classList.add('fault')
    this.again.hidden = false
    this.again.onclick = again
  }

  #say (text) {
    this.status.textContent = text
    this.status.hidden = text === ''
    this.status.classList.remove('fault')
    this.again.hidden = true
  }

  #renew () {
    for (const time of this.list.querySelectorAll('time')) time.textContent = relative(Number(time.dataset.ms))
  }

  #closed () {
    clearInterval(this.timer)
    this.doc.off('update', this.onupdate)
    this.loads++
    this.closeNamer()
    this.detail.hide()
    this.element.remove()
    this.opener?.focus()
  }
}

const minuteOf = version => Math.floor(version.at_ms / 60_000)
