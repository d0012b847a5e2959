// Shows the values under the pointer. The drawings are complete without it.
for (const figure of document.querySelectorAll('figure.chart')) {
  const data = JSON.parse(figure.querySelector('script').textContent)
  const drawing = figure.querySelector(':scope > svg')
  const hair = drawing.querySelector('.hair')
  const box = figure.appendChild(document.createElement('div'))
  box.className = 'box'
  box.hidden = true
  const hide = () => { box.hidden = true; hair.style.visibility = 'hidden' }
  drawing.addEventListener('pointerleave', hide)
  drawing.addEventListener('pointermove', event => {
    const frame = drawing.getBoundingClientRect()
    const scale = frame.width / drawing.viewBox.baseVal.width
    const x = (event.clientX - frame.left) / scale
    let at = 0
    data.x.forEach((each, index) => { if (Math.abs(each - x) < Math.abs(data.x[at] - x)) at = index })
    hair.setAttribute('x1', data.x[at])
    hair.setAttribute('x2', data.x[at])
    hair.style.visibility = 'visible'
    box.replaceChildren(document.createTextNode(data.names[at]))
    for (const line of data.lines) {
      const value = line.values[at]
      const row = box.appendChild(document.createElement('div'))
      row.innerHTML = `<svg viewBox="0 0 14 6"><polyline class="${line.kind}" points="0,3 14,3"/></svg><span></span><b></b>`
      row.querySelector('span').textContent = line.name
      row.querySelector('b').textContent = value == null ? '–' : `${value.toLocaleString('en')} ${data.unit}`
    }
    box.hidden = false
    const left = frame.left - figure.getBoundingClientRect().left + data.x[at] * scale
    const flip = left + box.offsetWidth + 24 > figure.clientWidth
    box.style.left = `${flip ? left - box.offsetWidth - 12 : left + 12}px`
    box.style.top = `${drawing.offsetTop + 14}px`
  })
}
