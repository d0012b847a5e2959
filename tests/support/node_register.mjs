// Preloaded by tests/support/node.py: makes `import 'yjs'` work in scripts that lie outside of the folder
// in which the packages are installed. ESM ignores NODE_PATH, so a resolve hook stands in for it.
import { register } from 'node:module'
import { pathToFileURL } from 'node:url'

register('./node_resolve.mjs', {
  parentURL: import.meta.url,
  data: { base: pathToFileURL(process.env.COLLAB_TEST_NODE_FOLDER + '/package.json').href }
})
