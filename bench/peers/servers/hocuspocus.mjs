// Hocuspocus as its documentation starts it, without extensions. Runs on Node: node hocuspocus.mjs FOLDER PORT
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const [folder, port] = process.argv.slice(2)
const require = createRequire(pathToFileURL(folder + '/'))
const { Server } = require('@hocuspocus/server')
new Server({ address: '127.0.0.1', port: Number(port), quiet: true }).listen()
