// What differs between two versions, in sentences. The form of a difference is described in docs/history.md.
//
// A mark never is a colour alone: what was inserted is underlined and an <ins>, what was deleted is struck through and
// a <del>, and each entry begins with its word.
import { moneyFormat } from '../budget.js'
import { h, icon, short } from '../dom.js'
import { STATUS_NAMES, TYPE_NAMES } from '../itinerary.js'
import { number } from '../trip.js'
import { textOf } from './preview.js'

const SECTIONS = [['title', 'Title'], ['description', 'Description'], ['itinerary', 'Itinerary'], ['budget', 'Budget'], ['notes', 'Notes']]
const FIELDS = { title: 'Title', notes: 'Notes', time_slot: 'Time', type: 'Kind', booking_status: 'Booking', cost: 'Cost', currency: 'Currency' }
const WORDS = { added: 'Added', removed: 'Removed', changed: 'Changed', moved: 'Moved' }
const ICONS = { added: 'plus', removed: 'minus', changed: 'pencil', moved: 'moved' }
const VALUE_CHARACTERS_MAX = 300
// Short, so that a text in a script without spaces is not taken for one word.
const WORD_START = /^[\p{L}\p{N}]{1,24}(?![\p{L}\p{N}])/u
const WORD_END = /(?<![\p{L}\p{N}])[\p{L}\p{N}]{1,24}$/u
const PLACE = ['position', 'day'] // where an item stands: said in one sentence

/** Elements that say what differs; `trip` is the newer of the two versions. */
export function changes (difference, trip) {
  const roots = new Map(difference.roots.map(entry => [entry.path[0], entry]))
  const parts = []
  for (const [name, title] of SECTIONS) {
    const entry = roots.get(name)
    roots.delete(name)
    if (entry === undefined) continue
    const lines = section(name, entry, trip)
    if (lines.length === 0) continue
    parts.push(h('section', { class: 'changed', 'data-testid': `changed-${name}`, 'aria-label': title }, h('h4', {}, title), ...lines))
  }
  if (roots.size > 0) parts.push(rest([...roots.values()]))
  if (parts.length === 0) parts.push(h('p', { class: 'hint', 'data-testid': 'changed-nothing' }, 'Nothing differs.'))
  if (difference.truncated) parts.push(h('p', { class: 'hint' }, 'Some of it is too long to be shown in full.'))
  return parts
}

/** "3 stops added, 12 characters written": the gist in one line. */
export function gist ({ counts, roots }) {
  const stops = roots.find(entry => entry.path[0] === 'itinerary')?.counts ?? {}
  const parts = []
  for (const word of ['added', 'removed', 'moved']) {
    if (stops[word] > 0 && roots.find(entry => entry.path[0] === 'itinerary').change === 'changed') parts.push(`${amount(stops[word], 'stop')} ${word}`)
  }
  if (counts.inserted > 0) parts.push(`${amount(counts.inserted, 'character')} written`)
  if (counts.deleted > 0) parts.push(`${amount(counts.deleted, 'character')} deleted`)
  return parts.join(', ')
}

function section (name, entry, trip) {
  if (name === 'itinerary') return itinerary(entry, trip)
  if (name === 'budget') return budget(entry)
  return [text(entry)]
}

function itinerary (entry, trip) {
  // The entry of a whole list is cut early; the newer version has all of it.
  if (entry.change === 'added') return trip.items().map(item => stop('added', item.toJSON()))
  if (entry.change === 'removed') return list(entry.before).map(item => stop('removed', item))
  const items = new Map(trip.items().map(item => [item.get('id'), item]))
  return list(entry.changes).map(change => {
    if (change.kind !== 'map' || change.kind_before !== undefined) return line(change.change, valueOf(change.after ?? change.before))
    if (change.change === 'added') return stop('added', change.after)
    if (change.change === 'removed') return stop('removed', change.before)
    const last = change.path.at(-1)
    const item = typeof last === 'object' ? items.get(last.id) : trip.itinerary.get(last)
    return changedStop(change, item)
  })
}

function stop (word, item) {
  const title = textOf(item?.title).trim() || 'Untitled stop'
  const cost = number(item?.cost, 0)
  const facts = [
    `day ${number(item?.day, 1)}`,
    short(item?.time_slot, 40),
    TYPE_NAMES[item?.type] ?? '',
    STATUS_NAMES[item?.booking_status] ?? '',
    cost === 0 ? '' : moneyFormat(short(item?.currency, 16))(cost)
  ].filter(fact => fact !== '')
  const notes = textOf(item?.notes).trim()
  return line(word, h(word === 'removed' ? 'del' : 'ins', { class: 'stop-name' }, title), ' ', h('span', { class: 'facts' }, facts.join(' · ')),
    notes === '' ? null : h('p', { class: 'diff quiet' }, notes))
}

function changedStop (entry, item) {
  const fields = list(entry.changes).filter(change => !PLACE.includes(change.path.at(-1)))
  const day = list(entry.changes).find(change => change.path.at(-1) === 'day')
  const lines = fields.map(change => field(change, item))
  if (day !== undefined) {
    lines.unshift(h('li', {}, 'Moved from ', h('del', {}, `day ${number(day.before, 1)}`), ' to ', h('ins', {}, `day ${number(day.after, 1)}`)))
  } else if (fields.length !== list(entry.changes).length || entry.change === 'moved') {
    lines.unshift(h('li', {}, 'Stands at another place'))
  }
  if (entry.truncated && entry.changes === undefined) lines.push(h('li', {}, 'Too much to be shown'))
  const word = fields.length === 0 ? 'moved' : 'changed'
  return line(word, h('span', { class: 'stop-name' }, textOf(item?.get?.('title')).trim() || 'Untitled stop'), ' ', h('ul', { class: 'facts' }, ...lines))
}

function field (entry, item) {
  const name = entry.path.at(-1)
  const label = FIELDS[name] ?? valueOf(name)
  if (entry.kind === 'text' || typeof (entry.after ?? entry.before) === 'string') {
    const names = name === 'type' ? TYPE_NAMES : name === 'booking_status' ? STATUS_NAMES : {}
    return h('li', {}, `${label}: `, ...inline(entry, names))
  }
  const format = name === 'cost' ? moneyFormat(short(item?.get?.('currency'), 16)) : null
  return h('li', {}, `${label}: `, ...replaced(entry, value => (format !== null && typeof value === 'number' ? format(value) : valueOf(value))))
}

function budget (entry) {
  const one = (currency, change) => {
    const format = moneyFormat(currency)
    const shown = value => (typeof value === 'number' ? format(value) : valueOf(value))
    return line(change.change, h('span', { class: 'stop-name' }, currency || 'No currency'), ' ', h('span', { class: 'facts' }, ...replaced(change, shown)))
  }
  if (entry.change === 'changed') return list(entry.changes).map(change => one(String(change.path.at(-1)), change))
  const side = entry.change === 'added' ? 'after' : 'before'
  return Object.entries(entry[side] ?? {}).map(([currency, value]) => one(currency, { change: entry.change, [side]: value }))
}

/** The entry of a text of the trip itself. */
function text (entry) {
  return h('p', { class: 'diff' }, ...inline(entry))
}

function inline (entry, names = {}) {
  if (entry.segments === undefined) return replaced(entry, value => names[value] ?? (typeof value === 'string' ? visible(value) : valueOf(value)))
  const parts = wholeWords(entry.segments).map(({ op, text, embed, attributes }) => {
    const content = text ?? (typeof embed === 'string' ? embed : '[object]')
    if (op === 'insert') return h('ins', {}, visible(content))
    if (op === 'delete') return h('del', {}, visible(content))
    return attributes === undefined ? h('span', { class: 'same' }, content) : h('span', { class: 'formatted', title: 'Looks different' }, content)
  })
  if (entry.truncated) parts.push(' …')
  return parts
}

/** A word of which letters were replaced is shown as two words: "four five", not "f our ive". */
function wholeWords (segments) {
  const plain = segment => segment?.op === 'retain' && segment.attributes === undefined
  const found = []
  for (let at = 0; at < segments.length;) {
    const change = { delete: '', insert: '' }
    let end = at
    while (end < segments.length && segments[end].op !== 'retain' && segments[end].text !== undefined) change[segments[end].op] += segments[end++].text
    if (change.delete === '' || change.insert === '') {
      found.push(...segments.slice(at, Math.max(end, at + 1)))
      at = Math.max(end, at + 1)
      continue
    }
    const last = found.at(-1)
    const start = plain(last) && (WORD_START.test(change.delete) || WORD_START.test(change.insert)) ? WORD_END.exec(last.text)?.[0] ?? '' : ''
    if (start !== '') found[found.length - 1] = { ...last, text: last.text.slice(0, -start.length) }
    change.delete = start + change.delete
    change.insert = start + change.insert
    // What stayed within the word, and the changes behind it, belong to it as well.
    while (plain(segments[end]) && (WORD_END.test(change.delete) || WORD_END.test(change.insert))) {
      const rest = WORD_START.exec(segments[end].text)?.[0] ?? ''
      if (rest === '') break
      change.delete += rest
      change.insert += rest
      if (rest.length < segments[end].text.length) {
        segments = segments.with(end, { ...segments[end], text: segments[end].text.slice(rest.length) })
        break
      }
      for (end++; end < segments.length && segments[end].op !== 'retain' && segments[end].text !== undefined; end++) change[segments[end].op] += segments[end].text
    }
    found.push({ op: 'delete', text: change.delete }, { op: 'insert', text: change.insert })
    at = end
  }
  return found.filter(({ text }) => text !== '')
}

function replaced ({ change, before, after }, shown) {
  const parts = []
  if (change !== 'added' && before !== undefined) parts.push(h('del', {}, shown(before)))
  if (parts.length > 0 && after !== undefined) parts.push(' → ')
  if (change !== 'removed' && after !== undefined) parts.push(h('ins', {}, shown(after)))
  return parts
}

/** What other programs keep in the document; of no interest to most, so it is folded. */
function rest (roots) {
  const lines = []
  const walk = entry => {
    if (Array.isArray(entry.changes) && entry.change !== 'added' && entry.change !== 'removed') entry.changes.forEach(walk)
    else lines.push(line(entry.change, h('code', {}, pathOf(entry.path)), ' ', h('span', { class: 'facts diff' }, ...inline(entry))))
  }
  roots.forEach(walk)
  return h('details', { class: 'changed changed-rest', 'data-testid': 'changed-rest' }, h('summary', {}, `Data behind the trip (${lines.length})`), ...lines)
}

function line (word, ...content) {
  const known = WORDS[word] === undefined ? 'changed' : word
  return h('div', { class: `change change-${known}`, 'data-testid': 'change', 'data-change': known },
    h('span', { class: 'change-word' }, icon(ICONS[known]), WORDS[known]), h('div', { class: 'change-what' }, ...content))
}

function pathOf (path) {
  return path.map(step => (typeof step === 'object' ? step?.id ?? step?.attribute : step)).join(' › ')
}

// Line breaks alone that came or went would not be seen.
const visible = content => (content.trim() === '' ? content.replaceAll('\n', '↵\n') : content)
const list = value => (Array.isArray(value) ? value : [])
const amount = (count, noun) => `${count} ${noun}${count === 1 ? '' : 's'}`

function valueOf (value) {
  if (value === undefined || value === null) return 'nothing'
  return [...(typeof value === 'string' ? value : JSON.stringify(value))].slice(0, VALUE_CHARACTERS_MAX).join('')
}
