// Seeded random edits of every kind of shared type, and a document's content as a comparable value.
import * as Y from 'yjs'

// mulberry32: small, seeded, the same on every machine
export const generator = seed => {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6D2B79F5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const int = below => Math.floor(next() * below)
  return { int, pick: list => list[int(list.length)] }
}

const WORDS = ['Rome', 'ferry ', 'Zürich', '🏔️', '東京', ' ', 'a', 'hotel\n', '👩‍👩‍👧', 'é']

const value = (dice, depth) => dice.pick([
  () => dice.int(2 ** 31), () => -dice.int(1000) / 8, () => dice.pick(WORDS), () => true, () => null,
  () => ({ day: dice.int(9), place: dice.pick(WORDS) }), () => [1, 'two', null],
  () => new Uint8Array([dice.int(256), dice.int(256)]),
  ...(depth < 3 ? [() => new Y.Map(), () => new Y.Array(), () => new Y.Text(dice.pick(WORDS))] : [])
])()

// The places between characters. Not inside of a surrogate pair: Yjs clients themselves do not agree on those.
const places = text => {
  const characters = text.toDelta().flatMap(op => (typeof op.insert === 'string' ? [...op.insert] : [' ']))
  let at = 0
  return [0, ...characters.map(character => (at += character.length))]
}

const inText = (text, dice) => {
  const at = places(text)
  const place = dice.int(at.length)
  const after = at[place + 1] ?? at[place]
  switch (dice.int(5)) {
    case 0: case 1: text.insert(at[place], dice.pick(WORDS)); break
    case 2: text.delete(at[place], after - at[place]); break
    case 3: text.format(at[place], after - at[place], { [dice.pick(['bold', 'em'])]: dice.pick([true, null]) }); break
    case 4: text.insertEmbed(at[place], { image: dice.int(100) }); break
  }
}

const inArray = (array, dice, depth) => {
  const length = array.length
  const nested = array.toArray().filter(item => item instanceof Y.AbstractType)
  const choice = dice.int(6)
  if (choice === 0 && length > 0) array.delete(dice.int(length), 1)
  else if (choice <= 2 && nested.length > 0) inType(dice.pick(nested), dice, depth + 1)
  else array.insert(dice.int(length + 1), [value(dice, depth)])
}

const inMap = (map, dice, depth) => {
  const keys = ['a', 'b', 'c', 'ключ']
  const nested = [...map.values()].filter(item => item instanceof Y.AbstractType)
  const choice = dice.int(6)
  if (choice === 0) map.delete(dice.pick(keys))
  else if (choice <= 2 && nested.length > 0) inType(dice.pick(nested), dice, depth + 1)
  else map.set(dice.pick(keys), value(dice, depth))
}

const inXml = (xml, dice, depth) => {
  const choice = dice.int(6)
  const children = xml.toArray()
  if (choice === 0 && children.length > 0) xml.delete(dice.int(children.length), 1)
  else if (choice <= 2 && children.length > 0) inType(dice.pick(children), dice, depth + 1)
  else if (choice === 3 && xml instanceof Y.XmlElement) xml.setAttribute(dice.pick(['class', 'id']), dice.pick(WORDS))
  else if (depth < 4) {
    xml.insert(dice.int(children.length + 1), [dice.int(2) ? new Y.XmlElement(dice.pick(['p', 'li'])) : new Y.XmlText(dice.pick(WORDS))])
  }
}

const inType = (type, dice, depth) => {
  if (type instanceof Y.XmlFragment) inXml(type, dice, depth)
  else if (type instanceof Y.Text) inText(type, dice)
  else if (type instanceof Y.Array) inArray(type, dice, depth)
  else if (type instanceof Y.Map) inMap(type, dice, depth)
}

const roots = {
  text: doc => doc.getText('notes'),
  array: doc => doc.getArray('itinerary'),
  map: doc => doc.getMap('budget'),
  xml: doc => doc.getXmlFragment('page')
}

export const edit = (doc, dice, kinds) => doc.transact(() => {
  for (let count = 1 + dice.int(3); count > 0; count--) inType(roots[dice.pick(kinds)](doc), dice, 0)
})

const plain = item => {
  if (item instanceof Y.XmlFragment) return { xml: item.toString() }
  if (item instanceof Y.Text) return { text: item.toDelta().map(op => ({ ...op, insert: plain(op.insert) })) }
  if (item instanceof Y.Array) return item.toArray().map(plain)
  if (item instanceof Y.Map) return Object.fromEntries([...item.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, inner]) => [key, plain(inner)]))
  if (item instanceof Uint8Array) return { bytes: Buffer.from(item).toString('base64') }
  if (item instanceof Y.Doc) return { guid: item.guid }
  return item
}

// The roots that random edits use, as a value that is equal when two replicas show the same.
export const content = doc => Object.fromEntries(Object.entries(roots).map(([kind, root]) => [kind, plain(root(doc))]))
