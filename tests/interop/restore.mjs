// Yjs clients that get restores. Input: lines of JSON {live, target, change, meanwhile} (base64); output: for each
// a line {restored, wanted, one, other}: contents as comparable values.
import * as Y from 'yjs'
import { createInterface } from 'node:readline'

const plain = item => {
  if (item instanceof Y.XmlText) return { xmltext: delta(item), attributes: sorted(item.getAttributes()) }
  if (item instanceof Y.XmlElement) return { tag: item.nodeName, attributes: sorted(item.getAttributes()), children: item.toArray().map(plain) }
  if (item instanceof Y.XmlFragment) return { xml: item.toArray().map(plain) }
  if (item instanceof Y.Text) return { text: delta(item) }
  if (item instanceof Y.Array) return item.toArray().map(plain)
  if (item instanceof Y.Map) return { map: sorted(item.toJSON()), kinds: [...item.entries()].map(([key, value]) => [key, plain(value)]).sort() }
  if (item instanceof Uint8Array) return { bytes: Buffer.from(item).toString('base64') }
  if (item instanceof Y.Doc) return { guid: item.guid }
  if (typeof item === 'bigint') return { bigint: String(item) }
  if (Number.isNaN(item)) return { nan: true }
  if (item !== null && typeof item === 'object') return sorted(item)
  return item ?? null
}

const sorted = object => Array.isArray(object)
  ? object.map(plain)
  : Object.fromEntries(Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => [key, plain(value)]))

// Neighbours of equal formats as one: how a text is cut into runs is not its content.
const delta = text => {
  const runs = []
  for (const { insert, attributes = {} } of text.toDelta()) {
    const run = { insert: plain(insert), attributes: sorted(attributes) }
    const last = runs.at(-1)
    if (last && typeof last.insert === 'string' && typeof run.insert === 'string' && JSON.stringify(last.attributes) === JSON.stringify(run.attributes)) last.insert += run.insert
    else runs.push(run)
  }
  return runs
}

const types = { text: Y.Text, array: Y.Array, map: Y.Map, xml: Y.XmlFragment }

const content = (kinds, updates, { together }) => {
  const doc = new Y.Doc()
  const roots = Object.entries(kinds).map(([name, kind]) => [name, doc.get(name, types[kind])])
  const apply = () => updates.filter(Boolean).forEach(update => Y.applyUpdate(doc, Buffer.from(update, 'base64')))
  together ? doc.transact(apply) : apply()
  return roots.map(([name, root]) => [name, plain(root)])
}

for await (const line of createInterface({ input: process.stdin })) {
  const { kinds, live, target, change, meanwhile } = JSON.parse(line)
  console.log(JSON.stringify({
    restored: content(kinds, [live, change], { together: false }),
    wanted: content(kinds, [target], { together: false }),
    // In one transaction: after each transaction with remote formats Yjs removes those that it finds redundant, and
    // so two of its documents can differ in formats by the order of their updates, whoever made these.
    one: content(kinds, [live, change, meanwhile], { together: true }),
    other: content(kinds, [meanwhile, change], { together: true })
  }))
}
