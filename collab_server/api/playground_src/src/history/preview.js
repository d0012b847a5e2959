// The trip as it was: the page's look without a field in it.
import * as Y from 'yjs'
import { moneyFormat } from '../budget.js'
import { h, icon, short } from '../dom.js'
import { STATUS_NAMES, TYPE_NAMES } from '../itinerary.js'
import { number, Trip, TYPES } from '../trip.js'

const TEXT_CHARACTERS_MAX = 100_000

/** A trip that only this page has, of the bytes of a version; `doc.destroy()` when it is done with. */
export function tripOf (update) {
  const doc = new Y.Doc()
  Y.applyUpdate(doc, update)
  return new Trip(doc, '')
}

/** A Y.Text or a string that another program wrote, as a string. */
export function textOf (value) {
  return value instanceof Y.Text ? value.toString() : short(value, TEXT_CHARACTERS_MAX)
}

export function preview (trip) {
  const title = textOf(trip.title).trim()
  const description = textOf(trip.description).trim()
  const notes = textOf(trip.notes).trimEnd()
  const days = trip.days()
  return h('article', { class: 'then', 'data-testid': 'preview', 'aria-label': 'The trip as it was' },
    h('div', { class: 'then-trip' },
      h('h3', { class: `then-title ${title === '' ? 'then-none' : ''}`, 'data-testid': 'preview-title' }, title || 'No title yet'),
      description === '' ? null : h('p', { class: 'then-description', 'data-testid': 'preview-description' }, description),
      ...days.map(({ day, items }) => h('section', { class: 'day', 'data-testid': 'preview-day', 'aria-label': `Day ${day}` },
        h('h4', { class: 'day-name' }, `Day ${day}`),
        h('ol', { class: 'cards' }, ...items.map(card)))),
      days.length === 0 ? h('p', { class: 'then-none then-empty' }, 'There were no stops yet.') : null),
    h('div', { class: 'then-side' },
      h('section', { class: 'panel' }, h('h4', {}, 'Budget'), budget(trip)),
      h('section', { class: 'panel' }, h('h4', {}, 'Notes'),
        h('p', { class: `then-notes ${notes === '' ? 'then-none' : ''}`, 'data-testid': 'preview-notes' }, notes || 'No notes yet.'))))
}

function card (item) {
  const type = TYPES.includes(item.get('type')) ? item.get('type') : 'attraction'
  const status = short(item.get('booking_status'), 16)
  const notes = textOf(item.get('notes')).trim()
  const cost = number(item.get('cost'), 0)
  const facts = [
    chip(short(item.get('time_slot'), 40)),
    chip(TYPE_NAMES[type]),
    chip(STATUS_NAMES[status] ?? status, 'booking_status'),
    cost === 0 ? null : chip(moneyFormat(short(item.get('currency'), 16))(cost), 'money')
  ]
  return h('li', { class: 'card', 'data-testid': 'preview-item', 'data-type': type, 'data-status': status },
    h('span', { class: 'badge' }, icon(type)),
    h('span', { class: 'slot-title item-title' }, textOf(item.get('title')).trim() || 'Untitled stop'),
    notes === '' ? null : h('p', { class: 'slot-notes item-notes' }, notes),
    h('div', { class: 'card-foot' }, ...facts))
}

function chip (text, name = '') {
  return text === '' ? null : h('span', { class: `chip ${name}` }, text)
}

function budget (trip) {
  const rows = trip.balance()
  if (rows.length === 0) return h('p', { class: 'then-none' }, 'No budget and no costs yet.')
  return h('ul', { class: 'budget-rows' }, ...rows.map(({ currency, spent, budget }) => {
    const format = moneyFormat(currency)
    const over = budget !== null && spent > budget
    const left = budget === null ? 'No budget set' : over ? `${format(spent - budget)} over` : `${format(budget - spent)} left`
    return h('li', { class: `budget-row ${over ? 'over' : ''}`, 'data-testid': 'preview-budget' },
      h('div', { class: 'budget-line' }, h('span', { class: 'currency' }, currency),
        h('span', { class: 'spent' }, h('strong', {}, format(spent)), budget === null ? null : ` of ${format(budget)}`)),
      budget === null ? null : h('progress', { max: 1, value: budget === 0 ? Number(spent > 0) : Math.min(1, spent / budget), 'aria-label': `Spent of the budget in ${currency}` }),
      h('span', { class: 'left' }, left))
  }))
}
