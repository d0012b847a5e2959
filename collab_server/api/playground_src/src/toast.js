// A short message at the bottom, with one thing that can be done about it.
import { h, iconButton } from './dom.js'

const SHOWN_MS = 30_000

export class Toast {
  constructor (root) {
    this.element = h('div', { class: 'toast', 'data-testid': 'toast', hidden: true })
    // Whoever is at it decides when it goes.
    for (const sign of ['pointerenter', 'focusin']) this.element.addEventListener(sign, () => clearTimeout(this.timer))
    for (const sign of ['pointerleave', 'focusout']) this.element.addEventListener(sign, () => this.#hideLater())
    root.setAttribute('role', 'status') // there before its first message, or that would not be read out
    root.append(this.element)
  }

  show (text, action = null, onaction = null) {
    this.element.replaceChildren(h('span', {}, text))
    if (action !== null) {
      this.element.append(h('button', { type: 'button', class: 'toast-action', 'data-testid': 'toast-action', onclick: onaction }, action))
    }
    this.element.append(iconButton('close', 'Dismiss this message', () => this.hide()))
    this.element.hidden = false
    this.#hideLater()
  }

  hide () {
    clearTimeout(this.timer)
    this.element.hidden = true
  }

  #hideLater () {
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.hide(), SHOWN_MS)
  }
}
