// Real Yjs documents for the tests of ydoc: makes random ones, and says what some updates mean to Yjs.
//
//   node documents.mjs generate SEED COUNT STEPS   -> JSON on stdout: [{updates, own}], bytes in base64
//   node documents.mjs compare < JSON              [{reference: [update], candidates: [[update]]}]
//                                                  -> [{content, size, candidates: [problem or null]}]
//   node documents.mjs measure < JSON              [[update]] -> [{size, text}]
import * as Y from 'yjs'

const [mode, ...args] = process.argv.slice(2)

const random = seed => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}

const base64 = bytes => Buffer.from(bytes).toString('base64')
const bytes = text => new Uint8Array(Buffer.from(text, 'base64'))

const generate = (seed, steps) => {
  const next = random(seed)
  const below = n => Math.floor(next() * n)
  const pick = list => list[below(list.length)]
  const words = ['a', 'bc', 'def ', '😀', 'x😀y', '👩‍👩‍👧', 'ß', '日本', '\u0000', 'tail\n', '']
  const scalar = () => pick([
    0, -0, 1, -1, 63, 64, -64, 2 ** 31, -(2 ** 31), 2 ** 40, 2 ** 53 - 1, 0.5, 1 / 3, 1e300, NaN, Infinity, true, false,
    null, undefined, 12345678901234567890n, -1n, 0n, 'text', '😀', '', new Uint8Array([0, 255, 128]), new Uint8Array(0)
  ])
  const value = depth => {
    const kind = below(depth > 2 ? 4 : 6)
    if (kind < 4) return scalar()
    if (kind === 4) return Array.from({ length: below(4) }, () => value(depth + 1))
    const made = {}
    for (let i = below(4); i > 0; i--) made[pick(['k', 'ключ', '😀', '']) + i] = value(depth + 1)
    return made
  }
  // Arrays take these only inside of other values.
  const listed = v => typeof v === 'bigint' || v === undefined ? { wrapped: v } : v
  const type = () => {
    switch (below(7)) {
      case 0: return new Y.Map([['in', value(0)]])
      case 1: return Y.Array.from([listed(value(0)), listed(value(0))])
      case 2: return new Y.Text('new 😀 text')
      case 3: return new Y.XmlElement('p')
      case 4: return new Y.XmlText('xml')
      case 5: return new Y.XmlFragment()
      default: return new Y.XmlHook('hook')
    }
  }
  const subdocument = () => new Y.Doc({ guid: 'sub' + below(1000), meta: { m: [1, '😀'] }, autoLoad: next() < 0.5, gc: next() < 0.5 })
  const content = () => next() < 0.5 ? value(0) : next() < 0.85 ? type() : subdocument()

  const updates = []
  const docs = Array.from({ length: 3 }, (_, i) => {
    const doc = new Y.Doc({ gc: next() < 0.8 })
    doc.clientID = [1 + below(100), 2 ** 31 + below(1000), 1000 + below(2 ** 30)][i]
    doc.on('update', (update, origin) => { if (origin !== 'remote') updates.push(update) })
    return doc
  })
  const roots = docs.map(doc => [
    doc.getText('text'), doc.getArray('array'), doc.getMap('map'), doc.getXmlFragment('xml'), doc.getText('rich')
  ])
  const undo = roots.map(types => new Y.UndoManager(types, { captureTimeout: 0 }))

  const inside = types => {
    // All shared types that are alive, roots first.
    const found = [...types]
    for (let i = 0; i < found.length && found.length < 60; i++) {
      const t = found[i]
      for (let item = t._start; item !== null; item = item.right) {
        if (!item.deleted && item.content instanceof Y.ContentType) found.push(item.content.type)
      }
      for (const item of t._map.values()) {
        if (!item.deleted && item.content instanceof Y.ContentType) found.push(item.content.type)
      }
    }
    return found
  }

  const edit = types => {
    const t = pick(next() < 0.4 ? types : inside(types))
    if (t instanceof Y.XmlElement || t instanceof Y.XmlFragment) {
      if (t instanceof Y.XmlElement && next() < 0.4) {
        if (next() < 0.7) t.setAttribute(pick(['id', 'class', 'ключ']), pick(words))
        else t.removeAttribute(pick(['id', 'class']))
      } else if (t.length > 0 && next() < 0.3) t.delete(below(t.length), 1)
      else t.insert(below(t.length + 1), [pick([() => new Y.XmlElement('div'), () => new Y.XmlText('t😀'), () => new Y.XmlHook('hook')])()])
    } else if (t instanceof Y.Text) {
      const at = below(t.length + 1)
      switch (below(8)) {
        case 0: case 1: case 2: t.insert(at, pick(words)); break
        case 3: if (t.length > 0) { const from = below(t.length); t.delete(from, 1 + below(Math.min(4, t.length - from))) } break
        case 4: t.insert(at, pick(words), pick([{ bold: true }, { link: { href: 'x', n: [1, { y: '😀' }] } }, {}])); break
        case 5: if (t.length > 0) { const from = below(t.length); t.format(from, 1 + below(t.length - from), pick([{ bold: true }, { bold: null }, { size: 12.5 }])) } break
        case 6: t.insertEmbed(at, pick([{ image: '😀.png' }, { n: [1, 2, { deep: null }] }])); break
        default: for (const c of 'typed') t.insert(Math.min(at, t.length), c)
      }
    } else if (t instanceof Y.Array) {
      if (t.length > 0 && next() < 0.4) { const from = below(t.length); t.delete(from, 1 + below(t.length - from)) }
      else t.insert(below(t.length + 1), Array.from({ length: 1 + below(3) }, () => listed(content())))
    } else if (t instanceof Y.Map) {
      const key = pick(['a', 'b', 'ключ😀'])
      if (next() < 0.25) t.delete(key)
      else t.set(key, content())
    }
  }

  for (let step = 0; step < steps; step++) {
    const i = below(docs.length)
    const kind = next()
    if (kind < 0.75) docs[i].transact(() => { for (let n = 1 + below(3); n > 0; n--) edit(roots[i]) })
    else if (kind < 0.8) undo[i].undo()
    else if (kind < 0.83) undo[i].redo()
    else {
      const from = docs[below(docs.length)]
      Y.applyUpdate(docs[i], Y.encodeStateAsUpdate(from, Y.encodeStateVector(docs[i])), 'remote')
    }
  }
  return { updates: updates.map(base64), clients: docs.map(doc => doc.clientID) }
}

const plain = (v, depth = 0) => {
  if (v === undefined) return ['undefined']
  if (typeof v === 'bigint') return ['bigint', v.toString()]
  if (typeof v === 'number') return Object.is(v, -0) ? ['-0'] : Number.isFinite(v) ? v : ['number', String(v)]
  if (v instanceof Uint8Array) return ['bytes', base64(v)]
  if (v instanceof Y.Doc) return ['doc', v.guid, plain(v.meta), v.autoLoad, v.gc]
  if (v instanceof Y.AbstractType) return type(v)
  if (Array.isArray(v)) return v.map(x => plain(x))
  if (v !== null && typeof v === 'object') return ['object', Object.keys(v).map(k => [k, plain(v[k])])]
  return v
}

const attributes = t => [...t._map.keys()].sort().filter(k => !t._map.get(k).deleted)
  .map(k => { const c = t._map.get(k).content.getContent(); return [k, plain(c[c.length - 1])] })

const type = t => {
  const children = []
  for (let item = t._start; item !== null; item = item.right) {
    if (item.deleted) continue
    if (item.content instanceof Y.ContentFormat) children.push(['format', item.content.key, plain(item.content.value)])
    else if (item.content instanceof Y.ContentString) {
      const last = children[children.length - 1]
      if (last && last[0] === 'string') last[1] += item.content.str
      else children.push(['string', item.content.str])
    } else for (const v of item.content.getContent()) children.push(['value', plain(v)])
  }
  return [t.constructor.name.replace(/^_*/, ''), t.nodeName || t.hookName || '', children, attributes(t)]
}

const read = updates => {
  const doc = new Y.Doc()
  doc.getText('text'); doc.getArray('array'); doc.getMap('map'); doc.getXmlFragment('xml'); doc.getText('rich')
  doc.transact(() => { for (const update of updates) Y.applyUpdate(doc, update, 'remote') })
  return doc
}

const show = doc => JSON.stringify([...doc.share.keys()].sort().map(name => [name, type(doc.share.get(name))]))

const further = (doc, seed) => {
  // A few edits by somebody new, the same on documents with the same content.
  const next = random(seed)
  doc.clientID = 7_000_000
  doc.transact(() => {
    for (const name of ['text', 'rich']) {
      const t = doc.getText(name)
      t.insert(Math.floor(next() * (t.length + 1)), 'further')
      t.delete(Math.floor(next() * t.length), 1)
    }
    const a = doc.getArray('array')
    a.insert(Math.floor(next() * (a.length + 1)), [1])
    doc.getMap('map').set('a', 'further')
  })
}

const input = async () => {
  const parts = []
  for await (const part of process.stdin) parts.push(part)
  return JSON.parse(Buffer.concat(parts).toString())
}

const compare = ({ reference, candidates }) => {
  const originals = reference.map(bytes)
  const whole = read([Y.mergeUpdates(originals)])
  const content = show(whole)
  const size = Y.encodeStateAsUpdate(whole).length
  const results = candidates.map(candidate => {
    const ours = candidate.map(bytes)
    try {
      const doc = read([Y.mergeUpdates(ours)])
      if (doc.store.pendingStructs || doc.store.pendingDs) return 'something is pending'
      if (show(doc) !== content) return `content differs\n${show(doc)}\n${content}`
      // Both ways: what one has the other takes in, and nothing changes.
      const both = read([Y.mergeUpdates(originals), Y.mergeUpdates(ours)])
      if (show(both) !== content) return 'content differs when taken in after the original'
      const back = read([Y.mergeUpdates(ours), Y.mergeUpdates(originals)])
      if (show(back) !== content) return 'content differs when the original comes after'
      const edited = read([Y.mergeUpdates(originals)])
      further(edited, 1)
      further(doc, 1)
      if (show(edited) !== show(doc)) return 'content differs after further edits'
      return null
    } catch (error) {
      return `yjs: ${error.stack}`
    }
  })
  return { size, candidates: results }
}

const main = async () => {
  if (mode === 'generate') {
    const [seed, count, steps] = args.map(Number)
    return Array.from({ length: count }, (_, i) => generate(seed + i, steps))
  }
  const given = await input()
  if (mode === 'compare') return given.map(compare)
  return given.map(updates => {
    const doc = new Y.Doc()
    for (const update of updates) Y.applyUpdate(doc, bytes(update))
    const names = [...doc.share.keys()]
    return { size: Y.encodeStateAsUpdate(doc).length, texts: names.map(name => [name, doc.getText(name).toString()]) }
  })
}

process.stdout.write(JSON.stringify(await main()))
