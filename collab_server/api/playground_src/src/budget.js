// The budget: per currency what was set aside, what the itinerary costs, and what is left.
import { arrange, h, icon, iconButton } from './dom.js'
import { CURRENCIES, number } from './trip.js'

export class BudgetView {
  constructor (trip, fields, root) {
    this.trip = trip
    this.fields = fields
    this.rows = new Map() // currency -> BudgetRow
    this.list = h('ul', { class: 'budget-rows' })
    this.none = h('p', { class: 'hint' }, 'Set aside a sum, and see what is left of it.')
    this.adder = h('select', { class: 'quiet', 'aria-label': 'Add a currency to the budget', 'data-testid': 'budget-add' })
    this.adder.addEventListener('change', () => this.#add(this.adder.value))
    root.append(this.none, this.list, h('label', { class: 'budget-adder' }, icon('plus'), this.adder))
    trip.itinerary.observeDeep(() => this.render())
    trip.budget.observe(() => this.render())
    this.render()
  }

  render () {
    const balance = this.trip.balance()
    const currencies = balance.map(row => row.currency)
    for (const [currency, row] of this.rows) {
      if (currencies.includes(currency)) continue
      row.destroy()
      this.rows.delete(currency)
    }
    arrange(this.list, balance.map(entry => {
      if (!this.rows.has(entry.currency)) this.rows.set(entry.currency, new BudgetRow(this.trip, this.fields, entry.currency))
      const row = this.rows.get(entry.currency)
      row.render(entry)
      return row.element
    }))
    this.none.hidden = balance.length > 0
    const free = CURRENCIES.filter(currency => !this.trip.budget.has(currency))
    this.adder.replaceChildren(h('option', { value: '' }, 'Add a currency'), ...free.map(value => h('option', { value }, value)))
    this.fields.show()
  }

  #add (currency) {
    if (currency === '') return
    this.trip.setBudget(currency, 0)
    this.rows.get(currency)?.focus()
  }
}

class BudgetRow {
  constructor (trip, fields, currency) {
    this.fields = fields
    this.where = { section: 'budget', field: currency }
    this.format = moneyFormat(currency)
    this.input = h('input', {
      type: 'number', min: '0', step: 'any', inputMode: 'decimal', class: 'cost', placeholder: 'none', autocomplete: 'off',
      'aria-label': `Budget in ${currency}`, 'data-testid': `budget-${currency}`
    })
    this.input.addEventListener('input', () => {
      if (!this.input.validity.badInput) trip.setBudget(currency, number(this.input.valueAsNumber, 0))
    })
    this.spent = h('strong', { 'data-testid': `spent-${currency}` })
    this.left = h('span', { class: 'left' })
    this.bar = h('progress', { max: 1, 'aria-label': `Spent of the budget in ${currency}` })
    this.remove = iconButton('close', `Remove the budget in ${currency}`, () => trip.removeBudget(currency))
    this.element = h('li', { class: 'budget-row', 'data-testid': 'budget-row', 'data-currency': currency },
      h('div', { class: 'budget-line' },
        h('span', { class: 'currency' }, currency), h('span', { class: 'spent' }, this.spent, ' of'),
        fields.add(this.input, this.where), this.remove),
      this.bar, this.left)
  }

  focus () {
    this.input.focus()
  }

  destroy () {
    this.fields.remove(this.where)
  }

  render ({ spent, budget }) {
    this.spent.textContent = this.format(spent)
    if (number(this.input.valueAsNumber, null) !== budget && !(budget === 0 && document.activeElement === this.input)) {
      this.input.value = budget === null ? '' : String(budget)
    }
    this.remove.hidden = budget === null
    const over = budget !== null && spent > budget
    this.element.classList.toggle('over', over)
    this.bar.value = budget === null || budget === 0 ? (spent > 0 ? 1 : 0) : Math.min(1, spent / budget)
    this.bar.hidden = budget === null
    this.left.textContent = budget === null
      ? 'No budget set'
      : over ? `${this.format(spent - budget)} over` : `${this.format(budget - spent)} left`
  }
}

/** Another program's currency may be no currency: then its name stands behind the plain number. */
export function moneyFormat (currency) {
  try {
    const format = new Intl.NumberFormat(undefined, { style: 'currency', currency, maximumFractionDigits: 2, minimumFractionDigits: 0 })
    return amount => format.format(amount)
  } catch {
    return amount => `${amount} ${currency}`
  }
}
