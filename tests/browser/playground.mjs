// Scenarios of the playground: `playground.mjs SCENARIO BROWSER PAGE_URL ROOM [ARGS]`.
import assert from 'node:assert/strict'
import WebSocket from 'ws'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
import { addItem, at, connected, flip, item, jonas, mira, openPage, pageUrl, play, reload, room, same, shown, state, type, until, value } from './harness.mjs'

await play({
  async converge () {
    const [a, b] = [await mira(), await jonas()]
    await type(a, at(a, 'title'), 'Lisbon')
    await until('the title is there', async () => await value(b, 'title') === 'Lisbon')
    await Promise.all([type(a, at(a, 'notes'), 'Good shoes 👟, '), type(b, at(b, 'title'), ', five friends')])
    await type(b, at(b, 'description'), 'In April')
    await addItem(a, 1, 'Hotel', { type: 'hotel', cost: '640', booking_status: 'confirmed', time_slot: '15:00' })
    await until('the other sees the item', async () => await at(b, 'item').count() === 1)
    await Promise.all([
      addItem(a, 1, 'Dinner', { type: 'restaurant', notes: 'At the market' }),
      addItem(b, 2, 'Tram 28', { type: 'transport', cost: '3.50', currency: 'CHF' })
    ])
    await Promise.all([type(a, at(a, 'notes'), 'maps'), type(b, at(b, 'notes'), 'First: ', 'Home')])
    const both = await until('everything has arrived', async () => {
      const now = await same(a, b)
      return now.notes.includes('maps') && now.notes.includes('First: ') && now.items.length === 3 && now.title.length === 20 && now
    })
    assert.equal(both.title, 'Lisbon, five friends')
    assert.equal(both.description, 'In April')
    assert.equal(both.notes, 'First: Good shoes 👟, maps')
    assert.deepEqual(both.items, [
      ['1', 'Hotel', '', '15:00', 'hotel', 'confirmed', '640', 'EUR'],
      ['1', 'Dinner', 'At the market', '', 'restaurant', 'pending', '', 'EUR'],
      ['2', 'Tram 28', '', '', 'transport', 'pending', '3.5', 'CHF']
    ])
  },

  async presence () {
    const [a, b] = [await mira(), await jonas()]
    await until('two are counted', async () => (await at(a, 'people-count').textContent()) === '2 people')
    await until('the other has a picture', async () => /^Jonas Weber/.test(await at(a, 'people').locator('.avatar').first().getAttribute('aria-label')))
    await type(b, at(b, 'notes'), 'Who books the boat?')
    const caret = at(a, 'remote-caret')
    await until('the caret has a name', async () => await caret.getAttribute('data-name') === 'Jonas Weber')
    await until('the caret stands at the end', async () => {
      const text = await caret.evaluate(element => {
        const range = document.createRange()
        range.setStart(element.parentElement, 0)
        range.setEndBefore(element)
        return range.toString()
      })
      return text === 'Who books the boat?'
    })
    await until('typing is shown', async () => await at(a, 'people').locator('.avatar.typing').count() === 1)
    await at(b, 'title').focus()
    await until('the field has the name', async () => /Jonas Weber/.test(await at(a, 'field-tag').first().textContent()))
    await until('the caret has left the notes', async () => await a.locator('#notes [data-testid=remote-caret]').count() === 0)
    await until('typing ends', async () => await at(a, 'people').locator('.avatar.typing').count() === 0)
    await at(b, 'menu-me').click()
    await at(b, 'my-name').fill('<b>Jo</b>')
    await until('a new name is a name, not markup', async () => /^<b>Jo<\/b>:/.test(await at(a, 'people').locator('.avatar').first().getAttribute('aria-label')))
    await b.close()
    await until('the other is gone', async () => (await at(a, 'people-count').textContent()) === '1 person')
    assert.equal(await at(a, 'field-tag').count(), 0)
  },

  async caret () {
    const [a, b] = [await mira(), await jonas()]
    await type(a, at(a, 'notes'), 'aaaa | end')
    await until('the text is there', async () => await value(b, 'notes') === 'aaaa | end')
    await at(a, 'notes').evaluate(area => area.setSelectionRange(5, 6))
    await at(b, 'notes').evaluate(area => { area.focus(); area.setSelectionRange(2, 2) })
    await b.keyboard.type('a👍a')
    await until('the other has written', async () => await value(a, 'notes') === 'aaa👍aaa | end')
    assert.deepEqual(await at(a, 'notes').evaluate(area => [area.selectionStart, area.selectionEnd]), [9, 10])
    await a.keyboard.type('X')
    await Promise.all([a.keyboard.type('YYYYYYYYYY', { delay: 5 }), b.keyboard.type('bbbbbbbbbb', { delay: 5 })])
    const both = await until('both have it', async () => {
      const now = await same(a, b)
      return now.notes.includes('YYYYYYYYYY') && now.notes.includes('bbbbbbbbbb') && now
    })
    assert.equal(both.notes, 'aaa👍abbbbbbbbbbaa XYYYYYYYYYY end')
    await b.keyboard.press('ArrowLeft')
    await at(b, 'notes').evaluate(area => area.setSelectionRange(5, 5))
    await b.keyboard.press('Backspace')
    await until('an emoji goes as a whole', async () => (await value(a, 'notes')).startsWith('aaaabbbbbbbbbb'))
  },

  async offline () {
    const [a, b] = [await mira(), await jonas()]
    const dinner = await addItem(a, 1, 'Dinner')
    await until('the item is there', async () => await at(b, 'item').count() === 1)
    await flip(b)
    assert.equal(await state(b), 'offline')
    await until('the other sees it go', async () => (await at(a, 'people-count').textContent()) === '1 person')
    await type(b, at(b, 'title'), 'Porto')
    await type(b, item(b, dinner, 'title'), ' at eight')
    await addItem(b, 2, 'Ferry')
    await type(a, at(a, 'notes'), 'Written while the other was away')
    await type(a, item(a, dinner, 'title'), 'Big ', 'Home')
    await addItem(a, 1, 'Museum')
    const waiting = await at(b, 'saved').textContent()
    assert.match(waiting, /^\d+ unsynced changes$/)
    assert.equal(await value(a, 'title'), '')
    assert.equal(await value(b, 'notes'), '')
    await flip(b)
    await connected(b)
    const both = await until('both sides met', async () => {
      const now = await same(a, b)
      return now.items.length === 3 && now.title === 'Porto' && now.notes !== '' && now
    })
    assert.deepEqual(both.items.map(([day, title]) => [day, title]).sort(), [['1', 'Big Dinner at eight'], ['1', 'Museum'], ['2', 'Ferry']])
    await until('nothing waits', async () => !/unsynced/.test(await at(b, 'saved').textContent()))
  },

  async reload () {
    const [a, b] = [await mira(), await jonas()]
    await type(a, at(a, 'title'), 'Rome')
    await until('the title is there', async () => await value(b, 'title') === 'Rome')
    await flip(b)
    await type(b, at(b, 'title'), ' and back')
    await addItem(b, 1, 'Forum')
    const waiting = await at(b, 'saved').textContent()
    await reload(b)
    assert.equal(await state(b), 'offline')
    await until('the local copy is shown', async () => await value(b, 'title') === 'Rome and back')
    assert.equal(await at(b, 'saved').textContent(), waiting)
    assert.equal(await value(a, 'title'), 'Rome')
    await flip(b)
    await until('it arrives', async () => await value(a, 'title') === 'Rome and back' && await at(a, 'item').count() === 1)
    await reload(a)
    await connected(a)
    assert.equal((await same(a, b)).items[0][1], 'Forum')
  },

  async undo () {
    const [a, b] = [await mira(), await jonas()]
    const id = await addItem(a, 1, 'Castle')
    await until('the item is there', async () => await at(b, 'item').count() === 1)
    await type(b, item(b, id, 'title'), ' of Bob')
    await type(b, at(b, 'notes'), 'kept')
    await until('both wrote', async () => await item(a, id, 'title').inputValue() === 'Castle of Bob' && await value(a, 'notes') === 'kept')
    await a.locator(`[data-id="${id}"]`).getByTestId('item-delete').click()
    await until('it is gone', async () => await at(b, 'item').count() === 0)
    await at(a, 'undo').click()
    await until('it is back', async () => await at(b, 'item').count() === 1)
    assert.equal(await item(b, id, 'title').inputValue(), 'Castle of Bob')
    await at(a, 'redo').click()
    await until('it is gone again', async () => await at(b, 'item').count() === 0)
    await at(a, 'notes').focus()
    await a.keyboard.press('Control+z')
    await until('the key undoes as well', async () => await at(b, 'item').count() === 1)
    while (await at(a, 'undo').isEnabled()) await at(a, 'undo').click()
    await same(a, b)
    assert.equal(await value(b, 'notes'), 'kept')
  },

  async move () {
    const [a, b] = [await mira(), await jonas()]
    const ids = []
    for (const title of ['One', 'Two', 'Three']) ids.push(await addItem(a, 1, title))
    await until('all are there', async () => await at(b, 'item').count() === 3)
    const order = async page => (await shown(page)).items.map(([day, title]) => `${day} ${title}`)
    const button = (page, id, name) => page.locator(`[data-id="${id}"]`).getByTestId(`item-${name}`)
    await item(b, ids[2], 'title').focus()
    await b.keyboard.press('Control+End')
    await Promise.all([b.keyboard.type(' and a bit more', { delay: 10 }), button(a, ids[2], 'up').click()])
    await until('the moved one has what was typed', async () =>
      JSON.stringify(await order(b)) === JSON.stringify(['1 One', '1 Three and a bit more', '1 Two']))
    assert.equal(await b.evaluate(() => document.activeElement.value), 'Three and a bit more')
    await button(a, ids[1], 'down').click()
    await until('past the end of a day', async () => (await order(b)).includes('2 Two'))
    await button(a, ids[1], 'up').click()
    await until('and back', async () => (await order(b))[2] === '1 Two')
    await button(a, ids[0], 'day').selectOption('2')
    await until('to another day', async () => (await order(b))[2] === '2 One')
    for (let turn = 0; turn < 4; turn++) {
      await button(a, ids[1], 'up').click()
      await button(a, ids[2], 'up').click()
    }
    await same(a, b)
  },

  async budget () {
    const [a, b] = [await mira(), await jonas()]
    const hotel = await addItem(a, 1, 'Hotel', { cost: '640.5' })
    const boat = await addItem(a, 1, 'Boat', { cost: '300' })
    await until('the costs are there', async () => await at(b, 'spent-EUR').textContent() === '€940.5')
    await at(b, 'budget-EUR').fill('800')
    await until('it is too much', async () => /€140.5 over/.test((await shown(a)).budget[0]))
    await item(b, boat, 'booking_status').selectOption('cancelled')
    await until('what is cancelled costs nothing', async () => /€159.5 left/.test((await shown(a)).budget[0]))
    await item(b, hotel, 'currency').selectOption('CHF')
    await at(a, 'budget-add').selectOption('USD')
    await until('each currency by itself', async () => (await shown(b)).budget.length === 3)
    await same(a, b)
  },

  async hostile () {
    const doc = new Y.Doc()
    const base = new URL(pageUrl).searchParams.get('ws') ?? pageUrl.replace(/^http/, 'ws').replace(/\/playground\/.*$/, '')
    const provider = new WebsocketProvider(base, encodeURIComponent(room), doc, { WebSocketPolyfill: WebSocket, disableBc: true })
    doc.transact(() => {
      const put = entries => doc.getArray('itinerary').push([new Y.Map(Object.entries(entries))])
      doc.getArray('itinerary').push([1, 'text', null, { plain: true }])
      put({})
      put({ id: 7, day: 'x', title: '<img src=x onerror=alert(1)>', notes: 5, cost: 'NaN', currency: 'nonsense', type: {}, booking_status: [] })
      put({ id: 'far', day: -3, time_slot: 'x'.repeat(1000), title: new Y.Text('fine'), cost: 1e308, currency: 'EUR', booking_status: 'else' })
      put({ id: 'far', day: 2n, title: new Y.Text('the same id'), cost: 12n, currency: 'E', position: 'first' })
      doc.getMap('budget').set('EUR', 'much')
      doc.getMap('budget').set('', null)
      doc.getText('notes').insert(0, 'one\r\ntwo')
      doc.getText('notes').insertEmbed(3, { image: 'x' })
      doc.getText('title').insert(0, 'Two\nlines')
    })
    const states = [7, 'text', [], { user: 5, cursor: 7 }, { user: { name: '<b>x</b>', color: 'red;} body{display:none' }, cursor: { section: 'notes', field: 'notes', offset: 2, anchor: { item: 9 }, head: [] }, typing: 'yes' },
      { user: { name: 'x'.repeat(10_000) }, cursor: { section: 'itinerary', index: 1e9, field: 'title' }, status: {} }]
    const page = await mira()
    await until('the document is there', async () => await at(page, 'item').count() === 4)
    for (const [turn, hostile] of states.entries()) {
      provider.awareness.setLocalState(hostile)
      await type(page, at(page, 'notes'), `${turn}`)
      await until('the page goes on', async () => doc.getText('notes').toString().endsWith(`${turn}`))
    }
    await until('a caret by its plain offset', async () => {
      provider.awareness.setLocalState(states[4])
      return await at(page, 'remote-caret').getAttribute('data-name') === '<b>x</b>'
    })
    assert.equal(doc.getText('notes').toString(), 'one\r\ntwo012345')
    await addItem(page, 1, 'still works')
    await until('the other has it', () => JSON.stringify(doc.getArray('itinerary').toJSON(), (_, v) => typeof v === 'bigint' ? `${v}` : v).includes('still works'))
    provider.destroy()
    doc.destroy()
  },

  async phone () {
    const page = await mira({ viewport: { width: 360, height: 740 } })
    await type(page, at(page, 'title'), 'A rather long title of a trip that has to wrap on a phone')
    await addItem(page, 1, 'Averylongwordwithoutaspacethatdoesnotfitintoasinglelineofaphone', { cost: '1234567', notes: 'x' })
    await at(page, 'budget-EUR').fill('1234567')
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360)
    const small = await page.evaluate(() => [...document.querySelectorAll('button, input, select, textarea, summary')]
      .filter(element => element.checkVisibility() && !(element.getAttribute('aria-label') || element.labels?.length || element.innerText.trim()))
      .map(element => element.outerHTML))
    assert.deepEqual(small, [], 'each control has a name')
  },

  async token (editors, narrowed) {
    const a = await mira({ patient: false })
    await a.waitForSelector('[data-testid=banner][data-code="4401"]:not([hidden])')
    assert.equal(await at(a, 'reason').textContent(), 'a token is needed')
    await at(a, 'token').fill('no token at all')
    await a.keyboard.press('Enter')
    await until('a bad one is told', async () => await at(a, 'reason').textContent() === 'the token is no JWT')
    await at(a, 'token').fill(editors)
    await a.keyboard.press('Enter')
    await connected(a)
    await type(a, at(a, 'title'), 'Lisbon')
    await until('it is saved', async () => await at(a, 'saved').textContent() === 'All changes saved')
    await reload(a)
    await connected(a)

    const b = await jonas({ patient: false })
    await b.goto(`${pageUrl}?token=${narrowed}#${encodeURIComponent(room)}`)
    await b.waitForSelector('body[data-ready]')
    await connected(b)
    assert.equal(new URL(b.url()).search, '', 'the token is out of the address')
    await type(b, at(b, 'notes'), 'mine to write')
    await until('what is allowed arrives', async () => await value(a, 'notes') === 'mine to write')
    await at(b, 'title').focus()
    await b.keyboard.press('End')
    await b.keyboard.type('!')
    await b.waitForSelector('[data-testid=banner][data-code=refused]:not([hidden])')
    assert.match(await at(b, 'reason').textContent(), /"title"/)
    await until('it is not called saved', async () => await at(b, 'saved').textContent() === 'Not shared')
    await type(a, at(a, 'notes'), ', and ours')
    await until('it reads on', async () => await value(b, 'notes') === 'mine to write, and ours')
    await at(b, 'discard').click()
    await until('both are the same again', async () => await value(b, 'title') === 'Lisbon' && await state(b) === 'connected')
    await type(b, at(b, 'notes'), '.')
    const both = await same(a, b)
    assert.deepEqual([both.title, both.notes], ['Lisbon', 'mine to write, and ours.'])
  },

  async closed (code, kind) {
    let connections = 0
    const page = await mira({
      patient: false,
      sockets: socket => {
        connections++
        socket.onMessage(() => {})
        socket.close({ code: Number(code), reason: 'for the test' })
      }
    })
    await page.waitForSelector(`[data-testid=banner][data-code="${code}"]:not([hidden])`)
    assert.ok((await at(page, 'banner').locator('span').textContent()).length > 20)
    await type(page, at(page, 'title'), 'kept')
    assert.equal(await at(page, 'saved').textContent().then(text => /^\d unsynced changes?$/.test(text)), true)
    if (kind === 'again') {
      await until('it comes back by itself', () => connections > 1)
    } else {
      assert.equal(await state(page), 'closed')
      const seen = connections
      if (code !== '4404') {
        await at(page, 'banner').getByRole('button', { name: 'Try again' }).click()
        await until('it tries again when told', () => connections > seen)
      }
      assert.equal(connections, code === '4404' ? 1 : 2)
    }
    await reload(page)
    await until('it was kept', async () => await value(page, 'title') === 'kept')
  },

  async unconfirmed () {
    const SYNC_STATUS = 102
    const held = []
    let answering = false
    const page = await mira({
      sockets: socket => {
        const server = socket.connectToServer()
        socket.onMessage(message => {
          if (typeof message === 'string' || message[0] !== SYNC_STATUS) server.send(message)
          else if (answering) socket.send(message)
          else held.push(() => socket.send(message))
        })
        server.onMessage(message => socket.send(message))
      }
    })
    await until('it asked', () => held.length > 0)
    held.splice(0).forEach(answer => answer())
    await until('all is saved', async () => await at(page, 'saved').textContent() === 'All changes saved')
    await type(page, at(page, 'title'), 'abc')
    await until('it asked again', () => held.length > 0)
    const first = held.shift()
    await type(page, at(page, 'title'), 'def')
    await until('and again', () => held.length > 0)
    first()
    assert.equal(await at(page, 'saved').textContent(), 'Saving…')
    answering = true
    held.splice(0).forEach(answer => answer())
    await until('the last answer saves all', async () => await at(page, 'saved').textContent() === 'All changes saved')
  },

  async saved () {
    const page = await mira()
    await addItem(page, 1, 'Hotel')
    await until('it is saved', async () => await at(page, 'saved').textContent() === 'All changes saved')
    assert.equal(await at(page, 'saved').getAttribute('data-unsaved'), '0')
  },

  async write () {
    const page = await mira()
    await type(page, at(page, 'title'), 'Here to stay')
    await addItem(page, 1, 'Hotel', { cost: '12' })
    await until('it is saved', async () => await at(page, 'saved').textContent() === 'All changes saved')
  },

  async read () {
    const page = await jonas()
    const now = await shown(page)
    assert.equal(now.title, 'Here to stay')
    assert.deepEqual(now.items, [['1', 'Hotel', '', '', 'attraction', 'pending', '12', 'EUR']])
  },

  /** The picture of the README: `picture BROWSER PAGE_URL ROOM FILE`. */
  async picture (file) {
    const a = await mira({ viewport: { width: 1180, height: 720 } })
    const b = await jonas()
    await type(a, at(a, 'title'), 'Lisbon, five friends')
    await type(a, at(a, 'description'), 'A long weekend in April. Everybody arrives on Thursday.')
    await addItem(a, 1, 'Hotel Santa Justa', { notes: 'Two rooms, breakfast included', time_slot: '15:00', type: 'hotel', booking_status: 'confirmed', cost: '640' })
    await addItem(a, 1, 'Dinner at the market', { time_slot: 'Evening', type: 'restaurant', cost: '150' })
    await addItem(a, 2, 'Tram 28 to Alfama', { notes: 'Board early, before the crowds', time_slot: '09:30', type: 'transport', cost: '16' })
    await at(a, 'budget-EUR').fill('1200')
    await type(a, at(a, 'notes'), 'Packing\n- good shoes, it is all hills\n- adapter type F\n\nWho books the boat on Saturday?\n')
    const c = await openPage('Ana Sousa', '#2f9e44')
    await until('the notes are there', async () => (await value(b, 'notes')).length > 80)
    await type(c, c.locator('[data-testid=item-title]').nth(1), ' hall')
    await type(b, at(b, 'notes'), 'I can call them tomorrow.')
    await at(a, 'description').blur()
    await a.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0) })
    await until('all is saved', async () => (await at(a, 'saved').textContent()) === 'All changes saved')
    await until('the caret is there', async () => await a.locator('#notes [data-testid=remote-caret]').count() === 1)
    await a.screenshot({ path: file })
  }
})
