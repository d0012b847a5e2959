// The resolve hook of node_register.mjs: a bare package name that is used outside of any node_modules
// folder is looked up from the test packages' folder, so that all scripts share one instance of yjs.
let base = ''

export const initialize = data => {
  base = data.base
}

const isBare = specifier => !/^(\.|\/|[a-z]+:|#)/i.test(specifier)

export const resolve = (specifier, context, next) => {
  const outside = !(context.parentURL || '').includes('/node_modules/')
  return next(specifier, isBare(specifier) && outside ? { ...context, parentURL: base } : context)
}
