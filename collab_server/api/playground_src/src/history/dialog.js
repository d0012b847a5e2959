// What the browser's own modal dialogs leave to the page.
import { h } from '../dom.js'

const FOCUSABLE = 'button, input, select, textarea, summary, a[href], [tabindex="0"]'

/** Tab goes round inside of the dialog; by itself the browser would lead out into its own bars. */
export function keepFocusInside (dialog) {
  dialog.addEventListener('keydown', event => {
    if (event.key !== 'Tab') return
    const all = [...dialog.querySelectorAll(FOCUSABLE)].filter(element => !element.disabled && element.tabIndex >= 0 && element.checkVisibility({ visibilityProperty: true }))
    const [first, last] = [all[0], all.at(-1)]
    const end = event.shiftKey ? first : last
    if (first === undefined || (document.activeElement !== end && dialog.contains(document.activeElement))) return
    event.preventDefault()
    ;(event.shiftKey ? last : first).focus()
  })
}

/** Asks for a decision; true if it is made. Escape and a click beside it mean no. */
export function ask (title, sentences, action) {
  return new Promise(resolve => {
    const dialog = h('dialog', { class: 'ask', role: 'alertdialog', 'aria-labelledby': 'ask-title', 'aria-describedby': 'ask-text', 'data-testid': 'ask' },
      h('h2', { id: 'ask-title' }, title),
      h('div', { id: 'ask-text' }, ...sentences.map(sentence => h('p', {}, sentence))),
      h('div', { class: 'ask-actions' },
        h('button', { type: 'button', class: 'plain-button', 'data-testid': 'ask-no', onclick: () => dialog.close('') }, 'Cancel'),
        h('button', { type: 'button', class: 'primary', autofocus: true, 'data-testid': 'ask-yes', onclick: () => dialog.close('yes') }, action)))
    dialog.addEventListener('close', () => {
      dialog.remove()
      resolve(dialog.returnValue === 'yes')
    })
    dialog.addEventListener('pointerdown', event => { if (event.target === dialog) dialog.close('') })
    keepFocusInside(dialog)
    document.body.append(dialog)
    dialog.showModal()
  })
}
