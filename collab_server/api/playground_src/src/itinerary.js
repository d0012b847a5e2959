// The itinerary: one section per day, one card per item. Cards are kept and moved, never made again, so that a field
// keeps its focus and its caret whatever others do around it.
import * as Y from 'yjs'
import { arrange, h, icon, iconButton, short } from './dom.js'
import { textField } from './textfield.js'
import { CURRENCIES, dayOf, number, STATUSES, TYPES } from './trip.js'

export const TYPE_NAMES = { hotel: 'Hotel', attraction: 'Sight', restaurant: 'Food', transport: 'Transport', free: 'Free time' }
export const STATUS_NAMES = { pending: 'To book', confirmed: 'Booked', cancelled: 'Cancelled' }

export class ItineraryView {
  constructor (trip, fields, root) {
    this.trip = trip
    this.fields = fields
    this.root = root
    this.cards = new Map() // Y.Map -> ItemCard
    this.days = new Map() // day -> { section, list }
    this.empty = this.#emptyState()
    this.more = h('button', { type: 'button', class: 'add-day', 'data-testid': 'add-day' }, icon('plus'), h('span'))
    this.more.addEventListener('click', () => this.#add(this.nextDay))
    trip.itinerary.observeDeep(() => this.render())
    this.render()
  }

  render () {
    const groups = this.trip.days()
    const items = new Set(groups.flatMap(group => group.items))
    for (const [item, card] of this.cards) {
      if (items.has(item)) continue
      card.destroy()
      this.cards.delete(item)
    }
    const dayNumbers = groups.map(group => group.day)
    this.nextDay = (dayNumbers.at(-1) ?? 0) + 1
    for (const day of [...this.days.keys()]) if (!dayNumbers.includes(day)) this.days.delete(day)
    const sections = groups.map(({ day, items }) => this.#renderDay(day, items, dayNumbers))
    this.more.lastChild.textContent = `Day ${this.nextDay}`
    this.more.setAttribute('aria-label', `Add a stop on day ${this.nextDay}`)
    // A card that changes its day changes its parent: what had the focus gets it back.
    const focused = document.activeElement
    arrange(this.root, groups.length === 0 ? [this.empty] : [...sections, this.more])
    if (focused?.isConnected && focused !== document.activeElement && this.root.contains(focused)) focused.focus()
    this.fields.show()
  }

  #renderDay (day, items, dayNumbers) {
    if (!this.days.has(day)) {
      const list = h('ol', { class: 'cards' })
      const add = h('button', { type: 'button', class: 'add-stop', 'data-testid': `add-item-${day}`, 'aria-label': `Add a stop on day ${day}` },
        icon('plus'), 'Add stop')
      add.addEventListener('click', () => this.#add(day))
      const section = h('section', { class: 'day', 'data-testid': 'day', 'data-day': String(day), 'aria-label': `Day ${day}` },
        h('h3', { class: 'day-name' }, `Day ${day}`), list, add)
      this.days.set(day, { section, list })
    }
    const { section, list } = this.days.get(day)
    const cards = items.map(item => {
      if (!this.cards.has(item)) this.cards.set(item, new ItemCard(this.trip, this.fields, item))
      const card = this.cards.get(item)
      card.render(dayNumbers)
      return card.element
    })
    const focused = document.activeElement
    arrange(list, cards)
    if (focused !== document.activeElement && list.contains(focused)) focused.focus()
    return section
  }

  #add (day) {
    const id = this.trip.addItem(day)
    for (const [item, card] of this.cards) if (item.get('id') === id) card.focus()
  }

  #emptyState () {
    const button = h('button', { type: 'button', class: 'primary', 'data-testid': 'add-first' }, icon('plus'), 'Add first stop')
    button.addEventListener('click', () => this.#add(1))
    return h('div', { class: 'empty' }, icon('map'), h('p', { class: 'empty-title' }, 'Where does it start?'),
      h('p', {}, 'A hotel, a train, a place for dinner: whoever has this page open sees it at once.'), button)
  }
}

class ItemCard {
  constructor (trip, fields, item) {
    this.trip = trip
    this.fields = fields
    this.item = item
    this.controls = []
    this.places = []
    this.element = this.#build()
  }

  focus () {
    this.element.querySelector('textarea')?.focus()
  }

  destroy () {
    this.title?.destroy?.()
    this.notes?.destroy?.()
    for (const where of this.places) this.fields.remove(where)
  }

  render (dayNumbers) {
    for (const control of this.controls) control.show(this.item.get(control.field))
    const { item } = this
    const type = TYPES.includes(item.get('type')) ? item.get('type') : 'attraction'
    if (this.element.dataset.type !== type) {
      this.element.dataset.type = type
      this.badge.replaceChildren(icon(type))
    }
    this.element.dataset.status = short(item.get('booking_status'), 16)
    const days = [...new Set([...dayNumbers, (dayNumbers.at(-1) ?? 0) + 1])]
    this.daySelect.replaceChildren(...days.map(day => h('option', { value: String(day) }, `Day ${day}`)))
    this.daySelect.value = String(dayOf(item))
    if (this.item.get('title') !== this.boundTitle || this.item.get('notes') !== this.boundNotes) this.#bindTexts()
  }

  #build () {
    this.badge = h('span', { class: 'badge' })
    this.titleSlot = h('div', { class: 'slot-title' })
    this.notesSlot = h('div', { class: 'slot-notes' })
    this.#bindTexts()
    const slot = this.#input('time_slot', 'Time', { type: 'text', placeholder: 'Time', list: 'time-slots', class: 'time', maxLength: 40 })
    const type = this.#select('type', 'Kind', TYPES, TYPE_NAMES)
    const status = this.#select('booking_status', 'Booking', STATUSES, STATUS_NAMES)
    const cost = this.#input('cost', 'Cost', { type: 'number', min: '0', step: 'any', inputMode: 'decimal', class: 'cost', placeholder: '0' })
    const currency = this.#select('currency', 'Currency', CURRENCIES)
    this.daySelect = h('select', { class: 'quiet', 'aria-label': 'Move to day', 'data-testid': 'item-day' })
    this.daySelect.addEventListener('change', () => this.trip.moveToDay(this.item, Number(this.daySelect.value)))
    const actions = h('div', { class: 'card-actions' },
      iconButton('up', 'Move up', () => this.trip.moveItem(this.item, -1), { 'data-testid': 'item-up' }),
      iconButton('down', 'Move down', () => this.trip.moveItem(this.item, 1), { 'data-testid': 'item-down' }),
      iconButton('trash', 'Delete this stop', () => this.trip.deleteItem(this.item), { 'data-testid': 'item-delete' }))
    return h('li', { class: 'card', 'data-testid': 'item', 'data-id': short(this.item.get('id'), 64) },
      this.badge, this.titleSlot, actions, this.notesSlot,
      h('div', { class: 'card-foot' }, slot, type, status, h('span', { class: 'money' }, cost, currency), this.daySelect))
  }

  #bindTexts () {
    this.title?.destroy?.()
    this.notes?.destroy?.()
    this.boundTitle = this.item.get('title')
    this.boundNotes = this.item.get('notes')
    this.title = this.#text('title', this.boundTitle, { 'aria-label': 'Title of the stop', placeholder: 'What is it?', 'data-testid': 'item-title' })
    this.notes = this.#text('notes', this.boundNotes, { 'aria-label': 'Notes on the stop', placeholder: 'Add a note', 'data-testid': 'item-notes' })
    this.titleSlot.replaceChildren(this.title)
    this.notesSlot.replaceChildren(this.notes)
  }

  // Another program may have written a plain string, or nothing: it is shown, and only a Y.Text can be edited.
  #text (field, text, props) {
    if (!(text instanceof Y.Text)) return h('span', { class: `item-${field} plain` }, short(text, 2000))
    return textField({
      trip: this.trip,
      fields: this.fields,
      text,
      where: { section: 'itinerary', field, item: this.item },
      multiline: field === 'notes',
      className: `item-${field}`,
      props
    })
  }

  #input (field, label, props) {
    const input = h('input', { 'aria-label': label, 'data-testid': `item-${field}`, autocomplete: 'off', ...props })
    const isNumber = props.type === 'number'
    input.addEventListener('input', () => {
      const value = isNumber ? number(input.valueAsNumber, 0) : input.value
      if (!input.validity.badInput) this.trip.setField(this.item, field, value)
    })
    const show = value => {
      const text = isNumber ? (number(value, 0) === 0 ? '' : String(number(value, 0))) : short(value, 40)
      const same = isNumber ? number(input.valueAsNumber, 0) === number(value, 0) : input.value === text
      if (!same) input.value = text
    }
    // "3.50" stays as typed while it is being typed
    if (isNumber) input.addEventListener('change', () => { input.value = String(this.item.get(field) || '') })
    return this.#control(field, input, show)
  }

  #select (field, label, values, names = {}) {
    const select = h('select', { 'aria-label': label, class: `quiet ${field}`, 'data-testid': `item-${field}` },
      ...values.map(value => h('option', { value }, names[value] ?? value)))
    select.addEventListener('change', () => this.trip.setField(this.item, field, select.value))
    const show = value => {
      const text = short(value, 16)
      if (text !== '' && ![...select.options].some(option => option.value === text)) select.append(h('option', { value: text }, text))
      select.value = text
    }
    return this.#control(field, select, show)
  }

  #control (field, control, show) {
    const where = { section: 'itinerary', field, item: this.item }
    this.controls.push({ field, show })
    this.places.push(where)
    return this.fields.add(control, where)
  }
}
