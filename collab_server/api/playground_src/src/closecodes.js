// What a close code means to the person in front of the page, and whether to come back.
//
// The codes are the server's table (collab_server/errors.py). 'final' stops the provider, 'later' makes it wait longer.

const CODES = {
  1001: ['soon', 'The server is restarting. Reconnecting…'],
  1002: ['final', 'This page and the server do not understand each other. Please reload.'],
  1003: ['final', 'This page and the server do not understand each other. Please reload.'],
  1007: ['final', 'This page and the server do not understand each other. Please reload.'],
  1009: ['final', 'That change is too big for the server, so it could not be sent.'],
  1011: ['later', 'The server had a problem. Your edits are kept here; trying again…'],
  1012: ['soon', 'The server is restarting. Reconnecting…'],
  1013: ['later', 'The server is very busy. Your edits are kept here; trying again…'],
  4205: ['soon', 'The server asked for a fresh start. Syncing again…'],
  4400: ['final', 'The server could not read what this page sent. Your edits are kept here.'],
  4401: ['final', 'You are not signed in, or your sign-in has run out.'],
  4403: ['final', 'You are not allowed into this trip.'],
  4404: ['final', 'This trip was deleted.'],
  4408: ['soon', 'The connection took too long. Trying again…'],
  4413: ['final', 'This trip has reached its size limit. Newer edits are kept here, but are not shared.'],
  4429: ['later', 'Too many changes at once. Your edits are kept here; trying again…'],
  4503: ['later', 'The server cannot save right now. Your edits are kept here and will be sent as soon as it can.']
}

/** Codes after which another token may help. */
export const wantsToken = code => code === 4401 || code === 4403

/**
 * `{ code, retry: 'soon' | 'later' | 'final' | 'discard', text, reason }`; `text` is null where the indicator says enough,
 * `reason` is what the server says beside a final code.
 */
export function meaningOf (code, reason = '') {
  const [retry, text] = CODES[code] ?? ['soon', null]
  return { code, retry, text, reason: retry === 'final' ? reason : '' }
}

/** Edits that were not taken; `reason` is the server's. */
export function refusal (reason) {
  return { code: 'refused', retry: 'discard', text: 'You may not change that here, so nobody else sees it.', reason }
}
