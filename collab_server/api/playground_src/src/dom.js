// Small helpers around the DOM. Text from others only ever becomes a text node or a property, never markup.

const SVG = 'http://www.w3.org/2000/svg'

/** An element with properties (`class`, `data-*` and `aria-*` as attributes, `on*` as listeners) and children. */
export function h (tag, props = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value)
    else if (name === 'class') element.className = value
    else if (name.includes('-') || name === 'role' || name === 'list' || name === 'for') element.setAttribute(name, value)
    else element[name] = value
  }
  element.append(...children.filter(child => child !== null && child !== undefined))
  return element
}

/** A picture of the sprite in index.html. */
export function icon (name) {
  const svg = document.createElementNS(SVG, 'svg')
  svg.setAttribute('class', 'icon')
  svg.setAttribute('aria-hidden', 'true')
  const use = document.createElementNS(SVG, 'use')
  use.setAttribute('href', `#i-${name}`)
  svg.append(use)
  return svg
}

/** A button that shows a picture and says its name to a screen reader. */
export function iconButton (name, label, onclick, props = {}) {
  return h('button', { type: 'button', class: 'icon-button', title: label, 'aria-label': label, onclick, ...props }, icon(name))
}

/** Makes the children of `parent` exactly `wanted`, moving as few as possible: a moved node would lose the focus. */
export function arrange (parent, wanted) {
  const keep = new Set(wanted)
  for (const child of [...parent.children]) if (!keep.has(child)) child.remove()
  let at = parent.firstElementChild
  const focused = document.activeElement
  for (const child of wanted) {
    if (child === at) {
      at = at.nextElementSibling
    } else if (child.parentElement === parent && child.contains(focused)) {
      // what stands between is moved behind the focused node instead
      while (at !== null && at !== child) {
        const next = at.nextElementSibling
        parent.append(at)
        at = next
      }
      at = child.nextElementSibling
    } else {
      parent.insertBefore(child, at)
    }
  }
}

/** A short text of a value that came from somebody else. */
export function short (value, charactersMax) {
  const text = typeof value === 'string' ? value : typeof value === 'number' ? String(value) : ''
  return [...text].slice(0, charactersMax).join('')
}
