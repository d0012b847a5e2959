// The playground: a trip, edited by whoever has the page open. Puts the parts together.
import * as Y from 'yjs'
import { BudgetView } from './budget.js'
import { Connection } from './connection.js'
import { Fields } from './fields.js'
import { Header } from './header.js'
import { HistoryClient } from './history/client.js'
import { HistoryDrawer } from './history/drawer.js'
import { ItineraryView } from './itinerary.js'
import { loadUser, Presence } from './presence.js'
import { httpBase, rememberRoom, room, socketBase, token } from './room.js'
import { textField } from './textfield.js'
import { Toast } from './toast.js'
import { Trip } from './trip.js'

const TITLE_REMEMBERED_MS = 1000

const byId = id => document.getElementById(id)
const doc = new Y.Doc()
const user = loadUser()
const trip = new Trip(doc, user.id)
let presence = null
let header = null

const connection = new Connection({
  doc, base: socketBase, room, params: token === undefined ? {} : { auth: token }, onchange: () => header?.render()
})
const fields = new Fields(trip, () => presence)
const history = new HistoryDrawer({
  client: new HistoryClient(httpBase, room, token),
  connection,
  doc,
  toast: new Toast(byId('messages')),
  people: () => presence?.everybody() ?? []
})
header = new Header(byId('header'), {
  trip, connection, user, onrename: name => presence.rename(name), onhistory: () => history.open()
})
presence = new Presence(connection.awareness, user, others => {
  header.showOthers(others)
  fields.show(others)
})

// The local copy first: what was typed offline is there at once, and a page without network is not empty.
await connection.start()

const root = (text, section, props, options = {}) => textField({
  trip, fields, text, where: { section, field: section }, className: `trip-${section}`, props: { 'data-testid': section, ...props }, ...options
})
byId('title').append(root(trip.title, 'title', { 'aria-label': 'Title of the trip', placeholder: 'Name this trip', enterKeyHint: 'done' }))
byId('description').append(root(trip.description, 'description', { 'aria-label': 'Description', placeholder: 'What is it about?' }, { multiline: true }))
byId('notes').append(root(trip.notes, 'notes', { 'aria-label': 'Shared notes', placeholder: 'Packing list, ideas, links… everybody writes here.' }, { multiline: true }))
new ItineraryView(trip, fields, byId('itinerary')) // eslint-disable-line no-new
new BudgetView(trip, fields, byId('budget')) // eslint-disable-line no-new
header.render()
document.body.dataset.ready = 'yes'

let titleTimer = null
const showTitle = () => {
  const title = trip.title.toString().trim()
  document.title = title === '' ? 'Playground' : `${title} · Playground`
  clearTimeout(titleTimer)
  titleTimer = setTimeout(() => rememberRoom(title), TITLE_REMEMBERED_MS)
}
trip.title.observe(showTitle)
showTitle()

addEventListener('keydown', event => {
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return
  const key = event.key.toLowerCase()
  const redo = key === 'y' || (key === 'z' && event.shiftKey)
  if (!redo && key !== 'z') return
  if (event.target.closest?.('#header, dialog') !== null && event.target.matches?.('input[type=text]')) return // not the document's
  event.preventDefault()
  if (history.isOpen) return // what is behind the drawer stays
  if (redo) trip.undo.redo()
  else trip.undo.undo()
})
addEventListener('hashchange', () => location.reload())
