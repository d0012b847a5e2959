// Which fields there are, who is in them, and telling the others where this user is.
import { h } from './dom.js'

export class Fields {
  constructor (trip, getPresence) {
    this.trip = trip
    this.getPresence = getPresence
    this.byKey = new Map()
    this.shown = new Map() // key -> the people shown there, as text: what has not changed is not drawn again
    this.others = []
  }

  /**
   * Makes `control` (an input, select or textarea) a field that others can see this user in.
   *
   * `where` is `{ section, field, item }`, `item` being a Y.Map or nothing. `carets(people)` draws carets where the
   * field has text; `position()` says where the own caret is. Returns the element to put on the page.
   */
  add (control, where, { carets = null, position = () => ({ offset: 0 }), content = control } = {}) {
    const tags = h('span', { class: 'field-tags', 'aria-hidden': 'true' })
    const wrapper = h('span', { class: 'field' }, content, tags)
    const key = keyOf(where)
    this.byKey.set(key, { wrapper, tags, carets, where })
    this.shown.delete(key)
    const tell = () => this.getPresence()?.moveTo(this.#cursor(where, position()))
    control.addEventListener('focus', tell)
    control.addEventListener('blur', () => this.getPresence()?.moveTo(null))
    for (const sign of ['selectionchange', 'keyup', 'pointerup']) {
      control.addEventListener(sign, () => document.activeElement === control && tell())
    }
    control.addEventListener('input', () => {
      this.getPresence()?.typed()
      tell()
    })
    return wrapper
  }

  remove (where) {
    this.byKey.delete(keyOf(where))
    this.shown.delete(keyOf(where))
  }

  /** Draws the others into the fields that they are in. */
  show (others = this.others) {
    this.others = others
    const people = new Map()
    for (const other of others) {
      const key = this.#keyOfCursor(other.cursor)
      if (key === null) continue
      if (!people.has(key)) people.set(key, [])
      people.get(key).push(other)
    }
    for (const [key, field] of this.byKey) {
      const here = people.get(key) ?? []
      field.carets?.(here)
      const text = here.map(other => `${other.client} ${other.name} ${other.color} ${other.typing}`).join('\n')
      if ((this.shown.get(key) ?? '') === text) continue
      this.shown.set(key, text)
      field.wrapper.classList.toggle('taken', here.length > 0)
      field.wrapper.style.setProperty('--who', here[0]?.color ?? '')
      field.tags.replaceChildren(...here.map(other => {
        const tag = h('span', { class: 'field-tag', 'data-testid': 'field-tag' }, other.typing ? `${other.name} …` : other.name)
        tag.style.setProperty('--who', other.color)
        return tag
      }))
    }
  }

  #cursor ({ section, field, item }, position) {
    const index = item === undefined ? 0 : this.trip.itinerary.toArray().indexOf(item)
    return { section, index, field, ...(item === undefined ? {} : { item: item.get('id') ?? null }), ...position }
  }

  #keyOfCursor (cursor) {
    if (cursor === null || cursor === undefined) return null
    const { section, field, item, index } = cursor
    if (section !== 'itinerary') return `${section}/${field}`
    const id = item ?? this.trip.itinerary.toArray()[index]?.get?.('id')
    return `itinerary/${id}/${field}`
  }
}

function keyOf ({ section, field, item }) {
  return item === undefined ? `${section}/${field}` : `${section}/${item.get('id')}/${field}`
}
