// The history of one document over HTTP, and what its errors mean to the person in front of the page.

const TIMEOUT_MS = 20_000
const PAGE = 30

const MEANINGS = {
  400: 'This server cannot show the history of this trip.',
  401: 'You are not signed in, or your sign-in has run out.',
  403: 'You are not allowed to see or change the history of this trip.',
  404: 'This server keeps no history of this trip.',
  410: 'This trip was deleted, and its history with it.',
  413: 'This trip is too big for that.',
  429: 'Too many requests at once. Please try again in a moment.',
  503: 'The server cannot reach its history right now. Nothing is lost; please try again in a moment.',
  504: 'The server took too long over it. Please try again.'
}
const CODES = {
  unknown_version: 'This version is no longer kept.',
  before_history: 'This is where the kept history begins: there is nothing before it to compare with.',
  no_history: 'This server keeps no history; only a pinned version stays.',
  too_many_versions: 'There are too many named versions. Delete one first.'
}

/** `message` is for the person; `code` is the server's word, or `unreachable`, or `http_<status>`. */
export class HistoryError extends Error {
  constructor (code, message, { passing = false } = {}) {
    super(message)
    this.code = code
    this.passing = passing
  }
}

export class HistoryClient {
  /** `base` is `http(s)://host`; `token` is sent along where there is one. */
  constructor (base, room, token) {
    this.address = `${base}/v1/documents/${encodeURIComponent(room)}`
    this.headers = token === undefined ? {} : { Authorization: `Bearer ${token}` }
  }

  /** `{ versions, next }`, newest first. A room in which nobody has written yet has no versions. */
  async list (cursor = null) {
    try {
      const query = new URLSearchParams({ limit: String(PAGE), ...(cursor === null ? {} : { cursor }) })
      const page = await this.#json('GET', `/versions?${query}`)
      return { versions: page.versions.filter(isVersion), next: page.next ?? null }
    } catch (error) {
      if (error.code === 'unknown_document') return { versions: [], next: null }
      throw error
    }
  }

  /** The document as it was, as one Yjs update. */
  async read (id) {
    const answer = await this.#ask('GET', `/versions/${id}?format=update`)
    return new Uint8Array(await answer.arrayBuffer())
  }

  /** What differs from `since` (an id, `previous` or `current`) to the version; docs/history.md has its form. */
  changes (id, since) {
    return this.#json('GET', `/versions/${id}/changes?${new URLSearchParams({ since })}`)
  }

  create (name, pinned) {
    return this.#json('POST', '/versions', { name, pinned })
  }

  change (id, fields) {
    return this.#json('PATCH', `/versions/${id}`, fields)
  }

  async remove (id) {
    await this.#ask('DELETE', `/versions/${id}`)
  }

  restore (version) {
    return this.#json('POST', '/restore', { version })
  }

  async #json (...request) {
    const answer = await this.#ask(...request)
    try {
      return await answer.json()
    } catch {
      throw new HistoryError('unreadable', 'The server gave an answer that this page does not understand.')
    }
  }

  async #ask (method, path, body) {
    let answer
    try {
      answer = await fetch(this.address + path, {
        method,
        headers: body === undefined ? this.headers : { ...this.headers, 'Content-Type': 'application/json' },
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: 'no-store',
        signal: AbortSignal.timeout(TIMEOUT_MS)
      })
    } catch {
      throw new HistoryError('unreachable', 'The server cannot be reached, and the history is kept there. Are you offline?', { passing: true })
    }
    if (answer.ok) return answer
    const said = await answer.json().catch(() => null)
    const code = typeof said?.error?.code === 'string' ? said.error.code : `http_${answer.status}`
    const message = CODES[code] ?? MEANINGS[answer.status] ?? 'The server made a mistake. Please try again.'
    throw new HistoryError(code, message, { passing: answer.status === 429 || answer.status >= 500 })
  }
}

function isVersion (entry) {
  return /^[sv]\d+$/.test(entry?.id) && Number.isFinite(entry.at_ms)
}
