// One version: the trip as it was, what changed, and what can be done with it.
import { h, icon, iconButton, short } from '../dom.js'
import { changes, gist } from './changes.js'
import { preview, tripOf } from './preview.js'
import { full, moment, relative } from './times.js'

const TABS = { preview: 'The trip then', changes: 'What changed' }

export class Detail {
  constructor ({ client, people, authors, onback, onrestore, onedit, ondelete }) {
    Object.assign(this, { client, people, authors, onback, onrestore, onedit, ondelete })
    this.shows = 0
    this.tab = 'preview'
    this.element = this.#build()
  }

  show (version) {
    this.hide()
    this.version = version
    this.element.hidden = false
    this.#renderHead()
    this.#select(this.tab)
  }

  hide () {
    this.shows++
    this.element.hidden = true
    this.trip?.doc.destroy()
    this.trip = this.reading = this.version = null
    this.panel.replaceChildren()
    this.#fault('')
  }

  focus () {
    this.title.focus()
  }

  #build () {
    this.title = h('h3', { tabIndex: -1, 'data-testid': 'version-title' })
    this.facts = h('p', { class: 'hint' })
    this.actions = h('div', { class: 'detail-actions' })
    this.fault = h('p', { class: 'fault', role: 'alert', 'data-testid': 'detail-fault', hidden: true })
    this.panel = h('div', { class: 'detail-panel', id: 'detail-panel', role: 'tabpanel', tabIndex: 0 })
    this.tabs = new Map(Object.entries(TABS).map(([tab, label]) => [tab,
      h('button', { type: 'button', role: 'tab', id: `detail-tab-${tab}`, 'aria-controls': 'detail-panel', 'data-testid': `tab-${tab}`, onclick: () => this.#select(tab) }, label)]))
    const bar = h('div', { class: 'tabs', role: 'tablist', 'aria-label': 'This version' }, ...this.tabs.values())
    bar.addEventListener('keydown', event => {
      if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return
      const other = this.tab === 'preview' ? 'changes' : 'preview'
      this.#select(other)
      this.tabs.get(other).focus()
    })
    return h('section', { class: 'detail', 'aria-label': 'The chosen version', 'data-testid': 'version-detail', hidden: true },
      h('div', { class: 'detail-head' },
        iconButton('back', 'Back to the list', () => this.onback(), { 'data-testid': 'detail-back' }),
        h('div', { class: 'detail-title' }, this.title, this.facts),
        this.actions),
      this.fault, bar, this.panel)
  }

  #renderHead () {
    const { version } = this
    const named = version.kind === 'named'
    const authors = this.authors(version)
    this.title.textContent = named ? short(version.name, 200) || 'Without a name' : moment(version.at_ms)
    this.facts.textContent = [full(version.at_ms), relative(version.at_ms), authors].filter(fact => fact !== '').join(' · ')
    const restore = h('button', { type: 'button', class: 'primary', 'data-testid': 'restore' }, icon('history'), 'Restore this version')
    restore.addEventListener('click', () => this.#act(restore, () => this.onrestore(version)))
    const own = []
    if (named) {
      const pin = iconButton('pin', version.pinned ? 'Kept for good: let it go with its time' : 'Keep it for good', () =>
        this.#act(pin, async () => {
          await this.onedit(version, { pinned: !version.pinned })
          this.#renderHead()
          this.actions.querySelector('[aria-pressed]')?.focus()
        }), { 'aria-pressed': String(version.pinned), 'data-testid': 'pin' })
      const remove = iconButton('trash', 'Delete this named version', () => this.#act(remove, () => this.ondelete(version)), { 'data-testid': 'version-delete' })
      own.push(pin, remove)
    }
    this.actions.replaceChildren(...own, restore)
  }

  // A disabled button would lose the focus.
  async #act (button, make) {
    if (this.acting) return
    this.acting = true
    button.setAttribute('aria-disabled', 'true')
    this.#fault('')
    try {
      await make()
    } catch (error) {
      this.#fault(error.message)
    } finally {
      this.acting = false
      button.removeAttribute('aria-disabled')
    }
  }

  async #select (tab) {
    this.tab = tab
    const show = ++this.shows
    for (const [name, button] of this.tabs) {
      button.setAttribute('aria-selected', String(name === tab))
      button.tabIndex = name === tab ? 0 : -1
    }
    this.panel.setAttribute('aria-labelledby', `detail-tab-${tab}`)
    this.panel.dataset.tab = tab
    this.panel.setAttribute('aria-busy', 'true')
    this.panel.replaceChildren(h('p', { class: 'hint' }, 'Loading…'))
    this.panel.scrollTop = 0
    try {
      const shown = tab === 'preview' ? await this.#preview() : await this.#changes()
      if (show === this.shows) this.panel.replaceChildren(...shown)
    } catch (error) {
      if (show !== this.shows) return
      this.panel.replaceChildren(h('p', { class: 'fault', role: 'alert', 'data-testid': 'panel-fault' }, error.message),
        h('button', { type: 'button', class: 'plain-button', onclick: () => this.#select(tab) }, 'Try again'))
    } finally {
      if (show === this.shows) this.panel.removeAttribute('aria-busy')
    }
  }

  async #preview () {
    const { version } = this
    const trip = await this.#read()
    return [
      h('p', { class: 'ribbon', 'data-testid': 'ribbon' }, icon('history'),
        h('span', {}, h('strong', {}, 'Read only. '), `The trip as it was: ${moment(version.at_ms)}, ${relative(version.at_ms)}.`)),
      preview(trip)
    ]
  }

  async #changes () {
    const result = h('div', { class: 'changed-all', 'data-testid': 'changes' })
    const since = h('select', { class: 'quiet', 'data-testid': 'since' },
      h('option', { value: 'previous' }, this.version.kind === 'named' ? 'the named version before' : 'the version before'),
      h('option', { value: 'current' }, 'the trip as it is now'))
    let turn = 0
    const compare = async () => {
      const now = ++turn
      let parts
      result.setAttribute('aria-busy', 'true')
      try {
        const [trip, difference] = await Promise.all([this.#read(), this.client.changes(this.version.id, since.value)])
        const by = this.#writers(difference)
        const line = [gist(difference), since.value === 'previous' && by !== '' ? `by ${by}` : ''].filter(part => part !== '').join(' · ')
        parts = [line === '' ? null : h('p', { class: 'hint gist', 'data-testid': 'gist' }, line), ...changes(difference, trip)]
      } catch (error) {
        parts = [h('p', { class: 'fault', role: 'alert', 'data-testid': 'panel-fault' }, error.message)]
      }
      if (now !== turn) return
      result.replaceChildren(...parts.filter(part => part !== null))
      result.removeAttribute('aria-busy')
    }
    since.addEventListener('change', compare)
    await compare()
    return [h('label', { class: 'compare' }, 'Compared with', since), result]
  }

  // Users as the server knows them; else those Yjs clients of which somebody is here.
  #writers ({ authors, clients }) {
    const people = this.people()
    const found = authors?.length > 0
      ? authors.map(id => people.find(person => person.id === id)?.name ?? short(id, 40))
      : (clients ?? []).map(({ client }) => people.find(person => person.client === client)?.name).filter(name => name !== undefined)
    return [...new Set(found)].join(', ')
  }

  /** The trip of this version; read once. */
  #read () {
    const { version } = this
    this.reading ??= this.client.read(version.id).then(update => {
      const trip = tripOf(update)
      if (version === this.version) this.trip = trip
      return trip
    })
    this.reading.catch(() => { if (version === this.version) this.reading = null })
    return this.reading
  }

  #fault (text) {
    this.fault.textContent = text
    this.fault.hidden = text === ''
  }
}
