// Times in words. The page speaks English; where the browser prefers one kind of English, its dates are used.

const LOCALE = navigator.languages.find(language => /^en\b/.test(language)) ?? 'en-GB'
const CLOCK = new Intl.DateTimeFormat(LOCALE, { timeStyle: 'short' })
const CLOCK_AND_SECONDS = new Intl.DateTimeFormat(LOCALE, { timeStyle: 'medium' })
const FULL = new Intl.DateTimeFormat(LOCALE, { dateStyle: 'full', timeStyle: 'medium' })
const DAY = new Intl.DateTimeFormat(LOCALE, { weekday: 'long', day: 'numeric', month: 'long' })
const DAY_AND_YEAR = new Intl.DateTimeFormat(LOCALE, { weekday: 'short', day: 'numeric', month: 'long', year: 'numeric' })
const RELATIVE = new Intl.RelativeTimeFormat(LOCALE, { numeric: 'auto' })
const STEPS = [['year', 31_557_600], ['month', 2_629_800], ['week', 604_800], ['day', 86_400], ['hour', 3600], ['minute', 60]]
const JUST_NOW_S = 45

export const clock = ms => CLOCK.format(ms)
export const clockWithSeconds = ms => CLOCK_AND_SECONDS.format(ms)
export const full = ms => FULL.format(ms)

/** "Today", "Yesterday", "Thursday 12 November"; also what versions are grouped by. */
export function dayName (ms, now = Date.now()) {
  const days = Math.round((startOfDay(now) - startOfDay(ms)) / 86_400_000)
  if (days === 0) return 'Today'
  if (days === 1) return 'Yesterday'
  return (new Date(ms).getFullYear() === new Date(now).getFullYear() ? DAY : DAY_AND_YEAR).format(ms)
}

/** "Today at 14:03": short enough for a heading. */
export const moment = ms => `${dayName(ms)} at ${clock(ms)}`

/** "5 minutes ago"; a clock that is ahead of this one does not make it the future. */
export function relative (ms, now = Date.now()) {
  const seconds = Math.max(0, (now - ms) / 1000)
  if (seconds < JUST_NOW_S) return 'just now'
  const [unit, length] = STEPS.find(([, length]) => seconds >= length) ?? STEPS.at(-1)
  return RELATIVE.format(-Math.max(1, Math.round(seconds / length)), unit)
}

function startOfDay (ms) {
  return new Date(ms).setHours(0, 0, 0, 0)
}
