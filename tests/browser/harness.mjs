// A headless Chromium and the hands of those who sit before it; for `SCENARIOS.mjs SCENARIO BROWSER PAGE_URL ROOM [ARGS]`.
//
// A scenario waits for what must come to be and fails when it does not; nothing depends on how long it takes.
import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import { chromium } from 'playwright-core'

const [scenario, executablePath, pageUrl, room, ...args] = process.argv.slice(2)
const PATIENCE_MS = 20_000
const SOCKETS = /^ws:/

const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] })
const opened = []

export { pageUrl, room }

/**
 * A window of its own: another browser profile, so another person with another local copy.
 *
 * `expected` are complaints on the console that belong to the scenario.
 */
export async function openPage (name, color, { viewport = { width: 1200, height: 900 }, scheme = 'light', sockets = null, patient = true, expected = /^$/ } = {}) {
  const context = await browser.newContext({ viewport, colorScheme: scheme, locale: 'en-GB' })
  context.setDefaultTimeout(PATIENCE_MS)
  const page = await context.newPage()
  const faults = []
  const own = new URL(pageUrl).host
  page.on('console', message => ['error', 'warning'].includes(message.type()) && !expected.test(message.text()) && faults.push(`console: ${message.text()}`))
  page.on('pageerror', error => faults.push(`error: ${error.stack}`))
  page.on('request', request => {
    const url = new URL(request.url())
    if (url.protocol !== 'data:' && url.host !== own) faults.push(`request: ${url}`)
  })
  await page.addInitScript(user => {
    if (sessionStorage.getItem('collab-playground:user') === null) sessionStorage.setItem('collab-playground:user', user)
  }, JSON.stringify({ id: name, name, color, avatar_url: '' }))
  if (sockets !== null) await page.routeWebSocket(SOCKETS, sockets)
  await page.goto(`${pageUrl}#${encodeURIComponent(room)}`)
  await page.waitForSelector('body[data-ready]')
  opened.push({ name, faults })
  if (patient) await connected(page)
  return page
}

export const mira = options => openPage('Mira Lind', '#d6336c', options)
export const jonas = options => openPage('Jonas Weber', '#1971c2', options)

export const at = (page, id) => page.getByTestId(id)

export async function until (what, check) {
  const end = Date.now() + PATIENCE_MS
  let last
  while (Date.now() < end) {
    try {
      last = await check()
      if (last) return last
    } catch (error) {
      last = error
    }
    await new Promise(resolve => setTimeout(resolve, 30))
  }
  throw new Error(`did not come to be: ${what}; last: ${last?.message ?? last}`)
}

export const connected = page => page.waitForSelector('[data-testid=connection][data-state=connected]')
export const state = page => at(page, 'connection').getAttribute('data-state')
export const value = (page, id) => at(page, id).inputValue()

/** What the page shows of the document. */
export const shown = page => page.evaluate(() => {
  const field = (element, id) => element.querySelector(`[data-testid=${id}]`)?.value ?? null
  return {
    title: field(document, 'title'),
    description: field(document, 'description'),
    notes: field(document, 'notes'),
    items: [...document.querySelectorAll('[data-testid=day]')].flatMap(day =>
      [...day.querySelectorAll('[data-testid=item]')].map(card => [day.dataset.day, ...['item-title', 'item-notes', 'item-time_slot',
        'item-type', 'item-booking_status', 'item-cost', 'item-currency'].map(id => field(card, id))])),
    // Without the names of those who are in a field: each page shows the others', never its own.
    budget: [...document.querySelectorAll('[data-testid=budget-row]')].map(row => [...row.querySelectorAll('[data-testid=field-tag]')]
      .reduce((text, tag) => text.replace(tag.innerText, ''), row.innerText).replace(/\s+/g, ' '))
  }
})

export async function same (first, second) {
  let pair
  try {
    return await until('both pages show the same', async () => {
      pair = [await shown(first), await shown(second)]
      return isDeepStrictEqual(...pair) && pair[0]
    })
  } catch {
    return assert.deepEqual(...pair)
  }
}

export async function addItem (page, day, title, fields = {}) {
  const button = await at(page, 'add-first').count() > 0 ? 'add-first' : await at(page, `add-item-${day}`).count() > 0 ? `add-item-${day}` : 'add-day'
  await at(page, button).click()
  await page.keyboard.type(title)
  const card = page.locator('[data-testid=item]:focus-within')
  const id = await card.getAttribute('data-id')
  for (const [field, content] of Object.entries(fields)) {
    const control = card.getByTestId(`item-${field}`)
    if (['type', 'booking_status', 'currency'].includes(field)) await control.selectOption(content)
    else await control.fill(content)
  }
  return id
}

export const item = (page, id, field) => page.locator(`[data-id="${id}"]`).getByTestId(`item-${field}`)

/** Types `text` at the end or the start of a field. */
export async function type (page, field, text, where = 'End') {
  await field.focus()
  await page.keyboard.press(`Control+${where}`)
  await page.keyboard.type(text)
}

/**
 * Reloads the page when its browser has stored what was typed.
 *
 * y-indexeddb writes behind the page's back, and a reload ends a write that has not finished: nobody may expect those last
 * keys back. A transaction over the same store runs after all that began before it, so its end is theirs.
 */
export async function reload (page) {
  await page.evaluate(async () => {
    const done = (target, event) => new Promise((resolve, reject) => {
      target[event] = () => resolve(target.result)
      target.onerror = target.onabort = () => reject(target.error)
    })
    for (const { name } of await indexedDB.databases()) {
      const database = await done(indexedDB.open(name), 'onsuccess')
      for (const store of database.objectStoreNames) await done(database.transaction(store, 'readwrite').objectStore(store).count(), 'onsuccess')
      database.close()
    }
  })
  await page.reload()
  await page.waitForSelector('body[data-ready]')
}

export const flip = page => at(page, 'offline-switch').click({ force: true })

/** Runs the scenario that the command line names; fails also for what a page complained about or asked others for. */
export async function play (scenarios) {
  try {
    await scenarios[scenario](...args)
    const faults = opened.flatMap(({ name, faults }) => faults.map(fault => `${name}: ${fault}`))
    assert.deepEqual(faults, [])
  } finally {
    await browser.close()
  }
}
