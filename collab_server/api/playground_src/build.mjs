// Bundles the page into ../playground, so that running the server needs no Node.
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const here = dirname(fileURLToPath(import.meta.url))
const out = join(here, '..', 'playground')
await mkdir(out, { recursive: true })

const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: { app: 'src/main.js' },
  outdir: out,
  bundle: true,
  minify: true,
  format: 'esm',
  target: ['es2022'],
  charset: 'utf8',
  legalComments: 'none',
  metafile: true
})
await build({ absWorkingDir: here, entryPoints: { app: 'src/styles.css' }, outdir: out, bundle: true, minify: true })
await cp(join(here, 'src', 'index.html'), join(out, 'index.html'))
await writeFile(join(out, 'licences.txt'), await licences(Object.keys(metafile.inputs)))

/** The licence texts of the packages of which code is in the bundle. */
async function licences (inputs) {
  const names = new Set()
  for (const input of inputs) {
    const found = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input)
    if (found !== null) names.add(found[1])
  }
  const parts = ['The script of this page contains code of these npm packages.\n']
  for (const name of [...names].sort()) {
    const folder = join(here, 'node_modules', name)
    const { version, license } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'))
    const text = await readFile(join(folder, 'LICENSE'), 'utf8')
    parts.push(`${'='.repeat(72)}\n${name} ${version} (${license})\n${'='.repeat(72)}\n\n${text.trim()}\n`)
  }
  return parts.join('\n')
}
