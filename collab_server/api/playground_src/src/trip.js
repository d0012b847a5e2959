// The trip as a document: its roots, its items, and every way in which this page changes it.
//
// Other programs write the same document, so whatever is read here is checked: an item of another shape is shown as
// well as it can be, and never breaks the page.
import * as Y from 'yjs'

/** The origin of changes made on this page; what undo goes back over. */
export const LOCAL = { toString: () => 'this page' }

export const TYPES = ['hotel', 'attraction', 'restaurant', 'transport', 'free']
export const STATUSES = ['pending', 'confirmed', 'cancelled']
export const CURRENCIES = ['EUR', 'USD', 'GBP', 'CHF', 'JPY', 'CNY', 'SEK', 'AUD']

const UPDATED_EVERY_MS = 30_000

export class Trip {
  constructor (doc, userId) {
    this.doc = doc
    this.userId = userId
    this.title = doc.getText('title')
    this.description = doc.getText('description')
    this.notes = doc.getText('notes')
    this.meta = doc.getMap('meta')
    this.itinerary = doc.getArray('itinerary')
    this.budget = doc.getMap('budget')
    this.undo = new Y.UndoManager([this.title, this.description, this.notes, this.itinerary, this.budget], {
      trackedOrigins: new Set([LOCAL])
    })
  }

  /** One change by this user, as one transaction. */
  change (make) {
    this.doc.transact(() => {
      make()
      this.#stamp()
    }, LOCAL)
  }

  /** The items by day: `[{ day, items }]`, each day in its order. Days without an item are not listed. */
  days () {
    const days = new Map()
    for (const item of this.items()) {
      const day = dayOf(item)
      if (!days.has(day)) days.set(day, [])
      days.get(day).push(item)
    }
    return [...days].sort(([a], [b]) => a - b).map(([day, items]) => ({ day, items }))
  }

  /** All items in the order in which they are shown within a day. */
  items () {
    const places = new Map(this.itinerary.toArray().map((item, index) => [item, index]))
    const items = [...places.keys()].filter(item => item instanceof Y.Map)
    const position = item => number(item.get('position'), places.get(item))
    return items.sort((a, b) => position(a) - position(b) || places.get(a) - places.get(b))
  }

  /** Adds a stop at the end of `day`; returns its id. */
  addItem (day) {
    const id = crypto.randomUUID?.() ?? `item-${Math.random().toString(36).slice(2)}`
    const last = this.items().reduce((most, item, index) => Math.max(most, number(item.get('position'), index)), -1)
    const item = new Y.Map(Object.entries({
      id,
      day,
      time_slot: '',
      type: 'attraction',
      title: new Y.Text(),
      notes: new Y.Text(),
      booking_status: 'pending',
      cost: 0,
      currency: this.currencies()[0],
      position: last + 1
    }))
    this.undo.stopCapturing()
    this.change(() => this.itinerary.push([item]))
    return id
  }

  setField (item, field, value) {
    if (item.get(field) !== value) this.change(() => item.set(field, value))
  }

  deleteItem (item) {
    const index = this.itinerary.toArray().indexOf(item)
    this.undo.stopCapturing()
    if (index >= 0) this.change(() => this.itinerary.delete(index))
  }

  /** One place up (`by` -1) or down (1); past the end of a day it goes on to the next one. */
  moveItem (item, by) {
    const day = dayOf(item)
    const items = this.days().find(group => group.day === day).items
    const target = items.indexOf(item) + by
    if (target < 0) {
      if (day > 1) this.moveToDay(item, day - 1)
    } else if (target >= items.length) {
      this.moveToDay(item, day + 1, true)
    } else {
      this.undo.stopCapturing()
      this.change(() => this.#place(item, items.filter(other => other !== item), target))
    }
  }

  moveToDay (item, day, first = false) {
    const items = this.days().find(group => group.day === day)?.items ?? []
    this.undo.stopCapturing()
    this.change(() => {
      item.set('day', day)
      this.#place(item, items, first ? 0 : items.length)
    })
  }

  // A Y.Array cannot move: taking an item out and putting a copy in would lose what somebody types in it meanwhile,
  // and two movers would double it. So the order within a day is a number of its own; without one, the array's order.
  #place (item, others, at) {
    const order = this.items()
    const position = other => number(other.get('position'), order.indexOf(other))
    const before = at > 0 ? position(others[at - 1]) : null
    const after = at < others.length ? position(others[at]) : null
    if (before === null && after === null) return
    const middle = before === null ? after - 1 : after === null ? before + 1 : (before + after) / 2
    if (middle !== before && middle !== after) {
      item.set('position', middle)
    } else {
      const wanted = [...others.slice(0, at), item, ...others.slice(at)]
      wanted.forEach((other, index) => other.set('position', index))
    }
  }

  /** Currencies in use, at least one: the budget's first. */
  currencies () {
    const used = new Set(this.budget.keys())
    for (const item of this.items()) if (typeof item.get('currency') === 'string') used.add(item.get('currency'))
    used.delete('')
    return used.size > 0 ? [...used] : ['EUR']
  }

  /** What is planned to be spent and what was set aside: `[{ currency, spent, budget | null }]`. Cancelled items cost nothing. */
  balance () {
    const rows = new Map()
    for (const [currency, budget] of this.budget.entries()) {
      rows.set(currency, { currency, spent: 0, budget: number(budget, 0) })
    }
    for (const item of this.items()) {
      const cost = number(item.get('cost'), 0)
      const currency = item.get('currency')
      if (cost === 0 || typeof currency !== 'string' || item.get('booking_status') === 'cancelled') continue
      if (!rows.has(currency)) rows.set(currency, { currency, spent: 0, budget: null })
      rows.get(currency).spent += cost
    }
    return [...rows.values()].sort((a, b) => (a.currency < b.currency ? -1 : 1))
  }

  setBudget (currency, amount) {
    if (this.budget.get(currency) !== amount) this.change(() => this.budget.set(currency, amount))
  }

  removeBudget (currency) {
    this.undo.stopCapturing()
    this.change(() => this.budget.delete(currency))
  }

  isEmpty () {
    return this.items().length === 0
  }

  // Whoever makes the first change writes who and when; later ones only renew the time, and not with each key.
  #stamp () {
    const now = Date.now()
    if (!this.meta.has('id')) {
      this.meta.set('id', crypto.randomUUID?.() ?? Math.random().toString(36).slice(2))
      this.meta.set('owner_id', this.userId)
      this.meta.set('created_at', now)
      this.meta.set('version', 1)
    }
    if (now - number(this.meta.get('updated_at'), 0) > UPDATED_EVERY_MS) this.meta.set('updated_at', now)
  }
}

export function dayOf (item) {
  return Math.max(1, Math.trunc(number(item.get('day'), 1)))
}

export function number (value, otherwise) {
  const plain = typeof value === 'bigint' ? Number(value) : value
  return typeof plain === 'number' && Number.isFinite(plain) ? plain : otherwise
}
