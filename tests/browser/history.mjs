// Scenarios of the playground's history drawer: `history.mjs SCENARIO BROWSER PAGE_URL ROOM [ARGS]`.
import assert from 'node:assert/strict'
import WebSocket from 'ws'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
import { addItem, at, flip, item, jonas, mira, openPage, pageUrl, play, room, same, shown, state, type, until, value } from './harness.mjs'

const versionsPath = url => url.pathname.endsWith('/versions')

const saved = page => until('all is saved', async () => await at(page, 'saved').textContent() === 'All changes saved')
const listed = page => page.waitForSelector('[data-testid=history-drawer]:not([aria-busy])')
const settled = page => page.waitForFunction(() => document.querySelector('.detail-panel:not([aria-busy])') && !document.querySelector('.detail-panel [aria-busy]'))
const focused = page => page.evaluate(() => document.activeElement.dataset.testid)
const text = async (page, id) => (await at(page, id).innerText()).replace(/\s+/g, ' ').trim()

/** Opens the drawer; the server makes a version of what was written so far. Returns the ids of the versions. */
async function openHistory (page) {
  await saved(page)
  await at(page, 'history').click()
  await listed(page)
  return await ids(page)
}

const ids = page => at(page, 'version').evaluateAll(rows => rows.map(row => row.dataset.id))

async function closeHistory (page) {
  await at(page, 'history-close').click()
  await until('it is closed', async () => await at(page, 'history-drawer').count() === 0)
}

/** Names the trip as it is now; returns the version's id. */
async function nameVersion (page, name, pinned = false) {
  await openHistory(page)
  await at(page, 'name-version').click()
  await page.keyboard.type(name)
  await at(page, 'version-pinned').setChecked(pinned)
  await at(page, 'version-save').click()
  const row = page.locator('[data-testid=version][data-kind=named]', { hasText: name })
  await row.waitFor()
  const id = await row.getAttribute('data-id')
  await closeHistory(page)
  return id
}

/** A version of the trip as it is now. */
async function makeVersion (page) {
  const [newest] = await openHistory(page)
  await closeHistory(page)
  return newest
}

async function choose (page, id) {
  await page.locator(`[data-testid=version][data-id="${id}"]`).click()
  await settled(page)
}

async function whatChanged (page, since = 'previous') {
  await at(page, 'tab-changes').click()
  await settled(page)
  await at(page, 'since').selectOption(since)
  await settled(page)
}

async function restore (page) {
  await at(page, 'restore').click()
  await at(page, 'ask-yes').click()
  await until('it is done', async () => await at(page, 'toast').isVisible())
}

/** A trip with an old and a new version: `{ older, newer, hotel, ferry }`. */
async function tripWithPast (a, b, keep = makeVersion) {
  await type(a, at(a, 'title'), 'Lisbon')
  await type(a, at(a, 'description'), 'With four friends')
  await type(a, at(a, 'notes'), 'Bring good shoes')
  const hotel = await addItem(a, 1, 'Hotel', { type: 'hotel', cost: '640', booking_status: 'confirmed' })
  const ferry = await addItem(a, 2, 'Ferry', { type: 'transport' })
  await at(a, 'budget-EUR').fill('900')
  const older = await keep(a, 'older')
  await until('the other has it', async () => await at(b, 'item').count() === 2 && await value(b, 'title') === 'Lisbon')
  await type(b, at(b, 'title'), ' and Porto')
  await at(b, 'description').fill('With five friends')
  await at(b, 'notes').fill('Bring two shoes')
  await item(b, hotel, 'cost').fill('700')
  await b.locator(`[data-id="${ferry}"]`).getByTestId('item-delete').click()
  await addItem(b, 3, 'Museum', { type: 'attraction', time_slot: '10:00' })
  await saved(b)
  await same(a, b)
  const newer = await keep(a, 'newer')
  return { older, newer, hotel, ferry }
}

await play({
  async versions () {
    const [a, b] = [await mira(), await jonas()]
    const { older, newer } = await tripWithPast(a, b)
    assert.notEqual(older, newer)
    const all = await openHistory(a)
    assert.equal(all[0], newer)
    assert.ok(all.indexOf(older) > 0)
    assert.match(await text(a, 'versions'), /^TODAY /)
    const row = a.locator(`[data-testid=version][data-id="${newer}"]`)
    assert.match((await row.innerText()).replace(/\s+/g, ' '), /^\d\d:\d\d(:\d\d)? just now the trip as it is · \d+ edits?$/)
    await choose(a, older)
    assert.equal(await text(a, 'preview-title'), 'Lisbon')
    assert.equal(await text(a, 'preview-notes'), 'Bring good shoes')
    assert.match(await text(a, 'ribbon'), /^Read only\. The trip as it was: Today at \d\d:\d\d/)
    const items = await at(a, 'preview-item').evaluateAll(cards => cards.map(card => card.innerText.replace(/\s+/g, ' ')))
    assert.deepEqual(items, ['Hotel Hotel Booked €640', 'Ferry Transport To book'])
    assert.equal(await text(a, 'preview-budget'), 'EUR €640 of €900 €260 left')
    assert.equal(await at(a, 'version-detail').locator('textarea, input').count(), 0)
    await choose(a, newer)
    assert.equal(await text(a, 'preview-title'), 'Lisbon and Porto')
    assert.equal(await value(a, 'title'), 'Lisbon and Porto')
  },

  async changes () {
    const [a, b] = [await mira(), await jonas()]
    const { older, newer } = await tripWithPast(a, b, nameVersion)
    await openHistory(a)
    await choose(a, newer)
    await whatChanged(a)
    assert.equal(await text(a, 'changed-title'), 'TITLE Lisbon and Porto')
    assert.equal(await at(a, 'changed-title').locator('ins').innerText(), ' and Porto')
    assert.deepEqual(await at(a, 'changed-description').locator('del, ins').allInnerTexts(), ['four', 'five'], 'words, not letters')
    assert.equal(await at(a, 'changed-notes').locator('del').innerText(), 'good')
    assert.equal(await at(a, 'changed-notes').locator('ins').innerText(), 'two')
    const lines = await at(a, 'changed-itinerary').getByTestId('change').evaluateAll(changes => changes.map(change => change.innerText.replace(/\s+/g, ' ').trim()))
    assert.deepEqual(lines, ['Removed Ferry day 2 · Transport · To book', 'Changed Hotel Cost: €640 → €700', 'Added Museum day 2 · 10:00 · Sight · To book'])
    assert.match(await text(a, 'gist'), /1 stop added, 1 stop removed, .*Jonas Weber/)
    const marks = await at(a, 'changes').evaluate(element => ['ins', 'del'].map(tag => getComputedStyle(element.querySelector(tag)).textDecorationLine))
    assert.deepEqual(marks, ['underline', 'line-through'])
    await at(a, 'since').selectOption('current')
    await a.waitForSelector('[data-testid=changed-nothing]')
    await choose(a, older)
    await whatChanged(a, 'current')
    assert.match(await text(a, 'changed-itinerary'), /Removed Museum .*Cost: €700 → €640.*Added Ferry/)
  },

  async restore () {
    const [a, b] = [await mira(), await jonas()]
    const { older, hotel } = await tripWithPast(a, b)
    const before = await shown(b)
    await openHistory(a)
    await choose(a, older)
    await at(a, 'restore').click()
    assert.match(await text(a, 'ask'), /everybody sees it at once.*another restore undoes this one/)
    await at(a, 'ask-no').click()
    assert.equal(await at(a, 'history-drawer').isVisible(), true)
    await restore(a)
    await until('the other sees it', async () => await value(b, 'title') === 'Lisbon')
    const after = await same(a, b)
    assert.equal(after.notes, 'Bring good shoes')
    assert.deepEqual(after.items.map(([day, title, , , , , cost]) => [day, title, cost]), [['1', 'Hotel', '640'], ['2', 'Ferry', '']])
    assert.equal(await at(a, 'history-drawer').count(), 0)
    assert.match(await text(a, 'toast'), /^Restored: Today at /)
    await type(b, item(b, hotel, 'notes'), 'Two rooms')
    await saved(b)
    await at(a, 'toast-action').click()
    await until('it is undone', async () => /undone/.test(await text(a, 'toast')))
    await until('the other sees that too', async () => await value(b, 'title') === 'Lisbon and Porto')
    const again = await same(a, b)
    assert.deepEqual(again.items, before.items)
    assert.equal(again.notes, before.notes)
    const all = await openHistory(b)
    assert.ok(all.length >= 4, 'both restores are versions, and so is what was written in between')
    await choose(b, all[0])
    await restore(b)
    assert.match(await text(b, 'toast'), /^Nothing to restore/)
    assert.equal(await at(b, 'toast-action').count(), 0)
  },

  async named () {
    const a = await mira()
    await type(a, at(a, 'title'), 'Rome')
    await openHistory(a)
    await at(a, 'name-version').click()
    assert.equal(await focused(a), 'version-name')
    await a.keyboard.press('Escape')
    assert.equal(await focused(a), 'name-version')
    await at(a, 'name-version').click()
    await a.keyboard.type('Before <b>the</b> booking')
    await at(a, 'version-pinned').check()
    await a.keyboard.press('Enter')
    const row = a.locator('[data-testid=version][data-kind=named]')
    await row.waitFor()
    const id = await row.getAttribute('data-id')
    assert.match((await row.innerText()).replace(/\s+/g, ' '), /^Before <b>the<\/b> booking just now \d\d:\d\d$/)
    assert.equal(await row.getByRole('img', { name: 'pinned' }).count(), 1)
    await closeHistory(a)
    await type(a, at(a, 'title'), ' and Naples')
    await openHistory(a)
    await choose(a, id)
    assert.equal(await text(a, 'version-title'), 'Before <b>the</b> booking')
    assert.equal(await text(a, 'preview-title'), 'Rome')
    assert.equal(await at(a, 'pin').getAttribute('aria-pressed'), 'true')
    await at(a, 'pin').click()
    await until('it is not pinned any more', async () => await row.getByRole('img', { name: 'pinned' }).count() === 0)
    assert.equal(await at(a, 'pin').getAttribute('aria-pressed'), 'false')
    await restore(a)
    await until('it is as it was', async () => await value(a, 'title') === 'Rome')
    await openHistory(a)
    await choose(a, id)
    await at(a, 'version-delete').click()
    await at(a, 'ask-yes').click()
    await until('it is gone', async () => !(await ids(a)).includes(id))
    assert.equal(await at(a, 'version-detail').isVisible(), false)
    await closeHistory(a)
    assert.equal((await openHistory(a)).includes(id), false)
  },

  async keyboard () {
    const a = await mira()
    await type(a, at(a, 'title'), 'One')
    await makeVersion(a)
    await type(a, at(a, 'title'), ' two')
    await saved(a)
    await at(a, 'history').focus()
    await a.keyboard.press('Enter')
    await listed(a)
    const rounds = new Set()
    for (let turn = 0; turn < 12; turn++) {
      rounds.add(await focused(a))
      assert.equal(await a.evaluate(() => document.activeElement.closest('dialog') !== null), true, 'the focus stays inside')
      await a.keyboard.press('Tab')
    }
    assert.deepEqual([...rounds].sort(), ['history-close', 'name-version', 'version'])
    await at(a, 'version').first().focus()
    await a.keyboard.press('ArrowDown')
    await a.keyboard.press('Enter')
    await settled(a)
    assert.equal(await text(a, 'preview-title'), 'One')
    assert.equal(await at(a, 'version').nth(1).getAttribute('aria-current'), 'true')
    await a.keyboard.press('ArrowUp')
    await a.keyboard.press('Space')
    await settled(a)
    await until('the newer one', async () => await text(a, 'preview-title') === 'One two')
    await at(a, 'tab-preview').focus()
    await a.keyboard.press('ArrowRight')
    assert.equal(await focused(a), 'tab-changes')
    assert.equal(await at(a, 'tab-changes').getAttribute('aria-selected'), 'true')
    await settled(a)
    await a.keyboard.press('Control+z')
    const nameless = await a.evaluate(() => [...document.querySelectorAll('dialog button, dialog select')].filter(button => button.checkVisibility() && !(button.ariaLabel || button.labels.length > 0 || button.innerText.trim())).length)
    assert.equal(nameless, 0)
    await at(a, 'restore').focus()
    await a.keyboard.press('Enter')
    assert.equal(await focused(a), 'ask-yes')
    await a.keyboard.press('Tab')
    assert.equal(await focused(a), 'ask-no')
    await a.keyboard.press('Tab')
    assert.equal(await focused(a), 'ask-yes')
    await a.keyboard.press('Escape')
    await until('no question any more', async () => await at(a, 'ask').count() === 0)
    assert.equal(await at(a, 'history-drawer').isVisible(), true)
    assert.equal(await focused(a), 'restore')
    await a.keyboard.press('Escape')
    await until('it is closed', async () => await at(a, 'history-drawer').count() === 0)
    assert.equal(await focused(a), 'history')
    assert.equal(await value(a, 'title'), 'One two', 'undo did nothing behind the drawer')
  },

  async away () {
    const a = await mira({ expected: /503|404|ERR_FAILED|ERR_INTERNET/ })
    await at(a, 'history').click()
    await listed(a)
    assert.match(await text(a, 'history-status'), /^No versions yet\./)
    await closeHistory(a)
    await type(a, at(a, 'title'), 'Oslo')
    await saved(a)
    const away = { status: 503, contentType: 'application/json', body: '{"error":{"code":"unavailable","message":"the store is away"}}' }
    await a.route(versionsPath, route => route.fulfill(away))
    await at(a, 'history').click()
    await until('it says so', async () => /cannot reach its history right now/.test(await text(a, 'history-status')))
    await a.unroute(versionsPath)
    await a.route(versionsPath, route => route.abort())
    await at(a, 'history-again').click()
    await until('and that nobody answers', async () => /cannot be reached/.test(await text(a, 'history-status')))
    await a.unroute(versionsPath)
    await at(a, 'history-again').click()
    await until('it is back', async () => await at(a, 'version').count() === 1)
    assert.equal(await at(a, 'history-status').isVisible(), false)
    const restoring = url => url.pathname.endsWith('/restore')
    const reading = url => url.searchParams.get('format') === 'update'
    await a.route(reading, route => route.fulfill(away))
    await at(a, 'version').first().click()
    await a.waitForSelector('[data-testid=panel-fault]')
    await a.unroute(reading)
    await at(a, 'version-detail').getByRole('button', { name: 'Try again' }).click()
    await until('the preview is there', async () => await text(a, 'preview-title') === 'Oslo')
    await a.route(restoring, route => route.fulfill(away))
    await at(a, 'restore').click()
    await at(a, 'ask-yes').click()
    await until('it is said', async () => /cannot reach/.test(await text(a, 'detail-fault')))
    assert.equal(await at(a, 'restore').isEnabled(), true)
    await closeHistory(a)
    await flip(a)
    assert.equal(await state(a), 'offline')
    await at(a, 'history').click()
    await until('offline is said', async () => /working offline/.test(await text(a, 'history-status')))
  },

  async many () {
    const a = await mira()
    await type(a, at(a, 'title'), 'Many')
    await saved(a)
    await a.evaluate(async room => {
      for (let turn = 0; turn < 65; turn++) {
        const answer = await fetch(`/v1/documents/${encodeURIComponent(room)}/versions`, {
          method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ name: `Version ${turn}`, pinned: false })
        })
        if (!answer.ok) throw new Error(await answer.text())
      }
    }, room)
    assert.equal((await openHistory(a)).length, 30)
    await at(a, 'history-more').click()
    await until('the next page', async () => (await ids(a)).length === 60)
    assert.equal(await a.evaluate(() => document.activeElement.querySelector('.version-name')?.textContent), 'Version 34')
    await at(a, 'history-more').click()
    await until('the last page', async () => (await ids(a)).length === 66)
    assert.equal(await at(a, 'history-more').isVisible(), false)
    assert.equal(new Set(await ids(a)).size, 66)
  },

  async newer () {
    const [a, b] = [await mira(), await jonas()]
    await type(a, at(a, 'title'), 'Bern')
    const all = await openHistory(a)
    assert.equal(await at(a, 'history-newer').isVisible(), false)
    await until('the title is there', async () => await value(b, 'title') === 'Bern')
    await type(b, at(b, 'title'), ' and back')
    await at(a, 'history-newer').click()
    await until('it is in the list', async () => (await ids(a)).length > all.length)
    await choose(a, (await ids(a))[0])
    await until('and can be looked at', async () => /^Bern a/.test(await text(a, 'preview-title')))
  },

  async hostile () {
    const doc = new Y.Doc()
    const base = new URL(pageUrl).searchParams.get('ws') ?? pageUrl.replace(/^http/, 'ws').replace(/\/playground\/.*$/, '')
    const provider = new WebsocketProvider(base, encodeURIComponent(room), doc, { WebSocketPolyfill: WebSocket, disableBc: true })
    const page = await openPage('Mira Lind', '#d6336c')
    const put = entries => doc.getArray('itinerary').push([new Y.Map(Object.entries(entries))])
    doc.transact(() => {
      doc.getArray('itinerary').push([1, 'text', null, { plain: true }])
      put({})
      put({ id: 7, day: 'x', title: '<img src=x onerror=alert(1)>', notes: 5, cost: 'NaN', currency: 'nonsense', type: {}, booking_status: [] })
      put({ id: 'far', day: -3, time_slot: 'x'.repeat(1000), title: new Y.Text('fine'), cost: 1e308, currency: 'EUR', booking_status: 'else' })
      doc.getMap('budget').set('EUR', 'much')
      doc.getMap('budget').set('', null)
      doc.getMap('meta').set('owner', '<script>')
      doc.getText('notes').insert(0, 'one\r\ntwo')
      doc.getText('notes').insertEmbed(3, { image: 'x' })
    })
    await until('the document is there', async () => await at(page, 'item').count() === 3)
    const first = await makeVersion(page)
    doc.transact(() => {
      const items = doc.getArray('itinerary')
      items.get(5).set('title', new Y.Text('a text'))
      items.get(5).set('type', 'hotel')
      items.get(5).set('nested', new Y.Map([['deep', new Y.Array()]]))
      items.get(6).get('title').format(0, 2, { bold: true })
      items.get(6).get('title').insertEmbed(1, { image: 'y' })
      items.get(6).set('day', [1])
      items.get(6).set('currency', null)
      items.delete(0, 2)
      items.push([new Y.Text('no item'), [2n, new Uint8Array([1, 2])]])
      doc.getMap('budget').set('EUR', 2n)
      doc.getMap('budget').set('<i>', new Y.Map())
      doc.getText('notes').delete(0, 2)
      doc.getMap('meta').set('owner', { name: 'x'.repeat(5000) })
      doc.getXmlFragment('other').insert(0, [new Y.XmlElement('p')])
    })
    await until('the change is there', async () => await page.locator('[data-id="7"]').getByTestId('item-title').evaluate(area => area.value) === 'a text')
    const all = await openHistory(page)
    assert.notEqual(all[0], first)
    for (const id of all) {
      await choose(page, id)
      await at(page, 'tab-preview').click()
      await settled(page)
      assert.equal(await at(page, 'preview-item').count(), 3)
      await whatChanged(page)
      assert.ok(await at(page, 'change').count() > 3)
      await whatChanged(page, 'current')
      assert.equal(await at(page, 'panel-fault').count(), 0)
      assert.equal(await at(page, 'version-detail').locator('img, script').count(), 0)
    }
    provider.destroy()
    doc.destroy()
  },

  async phone () {
    const page = await mira({ viewport: { width: 360, height: 740 } })
    await type(page, at(page, 'title'), 'A rather long title of a trip that has to wrap on a phone')
    await addItem(page, 1, 'Averylongwordwithoutaspacethatdoesnotfitintoasinglelineofaphone', { cost: '1234567', notes: 'x' })
    await at(page, 'budget-EUR').fill('1234567')
    const [newest] = await openHistory(page)
    const drawer = at(page, 'history-drawer')
    await until('it fills the window', async () => {
      const box = await drawer.boundingBox()
      return box.x === 0 && box.y === 0 && box.width === 360 && box.height === 740
    })
    await choose(page, newest)
    assert.equal(await at(page, 'versions').isVisible(), false)
    assert.equal(await focused(page), 'version-title')
    for (const tab of ['tab-preview', 'tab-changes']) {
      await at(page, tab).click()
      await settled(page)
      assert.deepEqual(await page.evaluate(() => [document.querySelector('dialog'), document.querySelector('.detail-panel')].map(element => element.scrollWidth - element.clientWidth)), [0, 0])
    }
    await at(page, 'detail-back').click()
    assert.equal(await at(page, 'versions').isVisible(), true)
    assert.equal(await focused(page), 'version')
    await page.keyboard.press('Escape')
    assert.equal(await focused(page), 'history')
  },

  /** The picture of the README: `picture BROWSER PAGE_URL ROOM FILE [SCHEME WIDTH HEIGHT TAB]`. */
  async picture (file, scheme = 'light', width = '1280', height = '800', tab = 'changes') {
    const a = await mira({ viewport: { width: Number(width), height: Number(height) }, scheme })
    const b = await jonas()
    await type(a, at(a, 'title'), 'Lisbon, four friends')
    await type(a, at(a, 'description'), 'A long weekend in April. Everybody arrives on Thursday.')
    await addItem(a, 1, 'Hotel Santa Justa', { notes: 'Two rooms, breakfast included', time_slot: '15:00', type: 'hotel', cost: '610' })
    await nameVersion(a, 'First idea')
    const dinner = await addItem(a, 1, 'Dinner at the market', { time_slot: 'Evening', type: 'restaurant', cost: '150' })
    await type(a, at(a, 'notes'), 'Packing\n- good shoes, it is all hills\n- adapter type F\n\nWho books the boat on Saturday?\n')
    await makeVersion(a)
    const ferry = await addItem(a, 2, 'Ferry to Cacilhas', { time_slot: 'Noon', type: 'transport', cost: '12' })
    await at(a, 'budget-EUR').fill('1200')
    await nameVersion(a, 'What we agreed on')
    await until('the other has it', async () => await at(b, 'item').count() === 3)
    const hotel = await at(b, 'item').first().getAttribute('data-id')
    await b.locator(`[data-id="${ferry}"]`).getByTestId('item-delete').click()
    await addItem(b, 2, 'Tram 28 to Alfama', { notes: 'Board early, before the crowds', time_slot: '09:30', type: 'transport', cost: '16' })
    await item(b, hotel, 'cost').fill('640')
    await item(b, hotel, 'booking_status').selectOption('confirmed')
    await type(b, item(b, dinner, 'title'), ' hall')
    await at(b, 'title').fill('Lisbon, five friends')
    await at(b, 'notes').fill('Packing\n- sturdy shoes, it is all hills\n- adapter type F\n\nAna books the boat on Saturday.\n')
    await at(b, 'budget-EUR').fill('1500')
    await saved(b)
    await until('all is there', async () => await value(a, 'budget-EUR') === '1500' && /Ana books/.test(await value(a, 'notes')))
    const newest = await nameVersion(a, 'Ready to book', true)
    // As if it had taken them some days.
    await a.route(versionsPath, async route => {
      const answer = await route.fetch()
      const page = await answer.json()
      page.versions.forEach((version, index) => { version.at_ms -= 60_000 * [4, 4, 19, 26, 88, 1290, 1303, 1460][Math.min(index, 7)] })
      await route.fulfill({ response: answer, json: page })
    })
    await openHistory(a)
    await choose(a, newest)
    await at(a, `tab-${tab}`).click()
    await settled(a)
    await a.mouse.move(0, 0)
    await until('nothing moves any more', async () => (await a.evaluate(() => document.getAnimations().filter(animation => animation.playState === 'running' && animation.effect.target.matches('dialog')).length)) === 0)
    await a.screenshot({ path: file })
  }
})
