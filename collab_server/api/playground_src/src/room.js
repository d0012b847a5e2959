// Which room this page shows, and where its server is. Everything is read from the address once.

const RECENT_KEY = 'collab-playground:recent'
const RECENT_MAX = 8

const query = new URLSearchParams(location.search)

/** The room named by `#room` or `?room=`; two windows without either meet in the same one. */
export const room = decode(location.hash.slice(1)) || query.get('room') || 'trip-demo'

/** `ws(s)://host`, or what `?ws=` names while developing. */
export const socketBase = query.get('ws') ?? `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}`

/** The same server over HTTP. */
export const httpBase = socketBase.replace(/^ws/, 'http')

const TOKEN_KEY = `collab-playground:token:${socketBase}`
const TOKEN_PARAMETERS = ['auth', 'token']
takeTokenFromAddress()

/** The token for the server, where it asks for one; undefined if there is none. */
export const token = sessionStorage.getItem(TOKEN_KEY) ?? undefined

/** Uses another token from now on. */
export function useToken (text) {
  sessionStorage.setItem(TOKEN_KEY, text)
  location.reload()
}

/** The address that shows `name`, with this page's other parameters kept. The token is nobody else's, so it is not in it. */
export function addressOf (name) {
  const url = new URL(location.href)
  url.searchParams.delete('room')
  url.hash = encodeURIComponent(name)
  return url.href
}

/** The address of this room for another window of the same person. */
export function ownAddress () {
  const url = new URL(addressOf(room))
  if (token !== undefined) url.searchParams.set('auth', token)
  return url.href
}

export function open (name) {
  location.assign(addressOf(name))
  // A change of the hash alone loads nothing: start afresh, so that no state of the old room stays.
  location.reload()
}

export function newRoomName () {
  return `trip-${crypto.randomUUID?.() ?? Math.random().toString(36).slice(2)}`
}

/** Rooms that were open in this browser lately, the newest first: `[{ room, title }]`. */
export function recentRooms () {
  try {
    const found = JSON.parse(localStorage.getItem(RECENT_KEY) ?? '[]')
    return Array.isArray(found) ? found.filter(entry => typeof entry?.room === 'string') : []
  } catch {
    return []
  }
}

export function rememberRoom (title) {
  const others = recentRooms().filter(entry => entry.room !== room)
  localStorage.setItem(RECENT_KEY, JSON.stringify([{ room, title }, ...others].slice(0, RECENT_MAX)))
}

// Kept for this window only, and out of what is copied, bookmarked and remembered.
function takeTokenFromAddress () {
  const given = TOKEN_PARAMETERS.map(name => query.get(name)).find(Boolean)
  if (given !== undefined) sessionStorage.setItem(TOKEN_KEY, given)
  const url = new URL(location.href)
  for (const name of TOKEN_PARAMETERS) url.searchParams.delete(name)
  if (url.href !== location.href) history.replaceState(null, '', url)
}

function decode (text) {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
