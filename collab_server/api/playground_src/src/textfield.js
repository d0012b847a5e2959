// A Y.Text in a textarea: minimal changes in both directions, a caret that stays where it was, the others' carets.
//
// The textarea lies over a mirror with the same text and the same metrics. The mirror gives the height (no scrollbars,
// no measuring) and holds the carets. Indexes in the textarea are indexes in the Y.Text: what a textarea would fold or
// cannot show (carriage returns, embedded objects) is shown as one other character.
import { simpleDiffStringWithCursor } from 'lib0/diff'
import * as Y from 'yjs'
import { h } from './dom.js'

const OBJECT = '\uFFFC'
const CARRIAGE_RETURN = '\u200B'

/**
 * Returns the element for the page; `destroy()` of its `field` ends it.
 *
 * `props` are the textarea's: `aria-label`, `placeholder`, `data-testid`. A field of one line takes no line breaks.
 */
export function textField ({ trip, fields, text, where, multiline = false, carets = true, className = '', props = {} }) {
  const area = h('textarea', { rows: 1, spellcheck: false, class: 'text-area', autocapitalize: 'sentences', ...props })
  const mirror = h('div', { class: 'text-mirror', 'aria-hidden': 'true' })
  const content = h('span', { class: `text ${className}` }, mirror, area)
  const binding = new TextBinding(trip, text, area, mirror)

  area.addEventListener('keydown', event => {
    if (event.key === 'Enter' && !multiline && !event.isComposing) {
      event.preventDefault()
      area.blur()
    }
  })
  if (!multiline) {
    area.addEventListener('beforeinput', event => {
      if (event.inputType === 'insertLineBreak') event.preventDefault()
    })
  }
  const element = fields.add(area, where, {
    content,
    carets: carets ? people => binding.showPeople(people) : null,
    position: () => binding.position()
  })
  element.destroy = () => {
    binding.destroy()
    fields.remove(where)
  }
  return element
}

class TextBinding {
  constructor (trip, text, area, mirror) {
    this.trip = trip
    this.text = text
    this.area = area
    this.mirror = mirror
    this.people = []
    this.startBefore = 0
    this.composing = false
    this.sending = false
    this.missed = [] // deltas that arrived while an input method was composing
    this.shown = plain(text)
    area.value = this.shown
    this.#draw()

    this.observer = (event, transaction) => this.#receive(event.delta, transaction)
    text.observe(this.observer)
    area.addEventListener('beforeinput', event => this.#before(event))
    area.addEventListener('input', () => this.#send())
    area.addEventListener('compositionstart', () => { this.composing = true })
    area.addEventListener('compositionend', () => {
      this.composing = false
      this.#send()
    })
  }

  destroy () {
    this.text.unobserve(this.observer)
  }

  position () {
    const { selectionStart, selectionEnd, selectionDirection } = this.area
    const [anchor, head] = selectionDirection === 'backward' ? [selectionEnd, selectionStart] : [selectionStart, selectionEnd]
    const relative = index => Y.relativePositionToJSON(Y.createRelativePositionFromTypeIndex(this.text, Math.min(index, this.text.length)))
    return { offset: head, anchor: relative(anchor), head: relative(head) }
  }

  showPeople (people) {
    if (people.length === 0 && this.people.length === 0) return
    this.people = people
    this.#draw()
  }

  #before (event) {
    this.startBefore = this.area.selectionStart
    if (event.inputType === 'historyUndo' || event.inputType === 'historyRedo') {
      event.preventDefault()
      if (document.activeElement !== this.area) return // the browser's own undo goes back over all fields of the page
      if (event.inputType === 'historyUndo') this.trip.undo.undo()
      else this.trip.undo.redo()
    }
  }

  // What was typed, as one smallest change at the caret.
  #send () {
    if (this.composing) {
      this.#draw(this.area.value)
      return
    }
    const value = this.area.value
    const near = Math.min(this.startBefore, this.area.selectionStart)
    const { index, remove, insert } = simpleDiffStringWithCursor(this.shown, value, near)
    const missed = this.missed
    this.missed = []
    this.shown = value
    if (remove > 0 || insert.length > 0) {
      const from = missed.reduce((at, delta) => shift(at, delta, true), index)
      const to = missed.reduce((at, delta) => shift(at, delta, false), index + remove)
      this.sending = true
      this.trip.change(() => {
        if (to > from) this.text.delete(from, to - from)
        if (insert.length > 0) this.text.insert(from, insert)
      })
      this.sending = false
    }
    if (missed.length > 0) this.#replace(missed)
    else this.#draw()
  }

  #receive (delta, transaction) {
    if (this.sending) return
    if (this.composing) {
      this.missed.push(delta) // an input method must not be disturbed: shown when it is done
    } else {
      this.#replace([delta], transaction.origin === this.trip.undo)
    }
  }

  #replace (deltas, toChange = false) {
    const { area } = this
    const focused = document.activeElement === area
    let { selectionStart, selectionEnd, selectionDirection } = area
    for (const delta of deltas) {
      selectionStart = shift(selectionStart, delta, false)
      selectionEnd = shift(selectionEnd, delta, false)
      if (toChange) selectionStart = selectionEnd = endOf(delta)
    }
    this.shown = plain(this.text)
    area.value = this.shown
    if (focused) area.setSelectionRange(selectionStart, selectionEnd, selectionDirection)
    this.#draw()
  }

  // The mirror: the text cut at the others' carets and selections.
  #draw (shown = this.shown) {
    const marks = this.people.map(person => this.#markOf(person)).filter(mark => mark !== null)
    const cuts = [...new Set([0, shown.length, ...marks.flatMap(({ from, to, head }) => [from, to, head])])]
      .filter(at => at <= shown.length)
      .sort((a, b) => a - b)
    const parts = []
    cuts.forEach((at, index) => {
      for (const mark of marks) if (mark.head === at) parts.push(caret(mark.person))
      const next = cuts[index + 1]
      if (next === undefined) return
      const piece = shown.slice(at, next)
      const selecting = marks.find(({ from, to }) => from <= at && next <= to)
      if (selecting === undefined) {
        parts.push(piece)
      } else {
        const span = h('span', { class: 'others-selection' }, piece)
        span.style.setProperty('--who', selecting.person.color)
        parts.push(span)
      }
    })
    // The last line counts also when it is empty.
    this.mirror.replaceChildren(...parts, '\u200B')
  }

  #markOf (person) {
    const head = this.#indexOf(person.cursor?.head, person.cursor?.offset)
    if (head === null) return null
    const anchor = this.#indexOf(person.cursor?.anchor, head) ?? head
    return { person, head, from: Math.min(anchor, head), to: Math.max(anchor, head) }
  }

  // A relative position that came from somebody else, else the plain offset beside it.
  #indexOf (relative, offset) {
    if (relative !== null && typeof relative === 'object') {
      try {
        const found = Y.createAbsolutePositionFromRelativePosition(Y.createRelativePositionFromJSON(relative), this.text.doc)
        if (found?.type === this.text) return found.index
      } catch { /* not a position of this document: take the offset */ }
    }
    return Number.isInteger(offset) && offset >= 0 ? Math.min(offset, this.text.length) : null
  }
}

function caret (person) {
  const element = h('span', { class: 'others-caret', 'data-testid': 'remote-caret', 'data-name': person.name },
    h('span', { class: 'others-name' }, person.name))
  element.style.setProperty('--who', person.color)
  return element
}

/** The text with one character for each index of the Y.Text. */
function plain (text) {
  return text.toDelta()
    .map(({ insert }) => (typeof insert === 'string' ? insert : OBJECT))
    .join('')
    .replaceAll('\r', CARRIAGE_RETURN)
}

/** Where `index` is after `delta`; what is inserted exactly there comes before it only if `behind`. */
function shift (index, delta, behind) {
  let at = 0
  for (const { retain, insert, delete: removed } of delta) {
    if (at > index || (at === index && insert === undefined)) break
    if (retain !== undefined) {
      at += retain
    } else if (insert !== undefined) {
      const length = typeof insert === 'string' ? insert.length : 1
      if (at < index || behind) index += length
      at += length
    } else {
      index -= Math.min(removed, index - at)
    }
  }
  return index
}

/** The end of the last change in `delta`. */
function endOf (delta) {
  let at = 0
  let end = 0
  for (const { retain, insert } of delta) {
    if (retain !== undefined) {
      at += retain
    } else {
      if (insert !== undefined) at += typeof insert === 'string' ? insert.length : 1
      end = at
    }
  }
  return end
}
