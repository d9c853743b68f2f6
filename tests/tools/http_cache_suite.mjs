/*
 * Runs the required cases of the public HTTP cache test suite (npm package
 * http-cache-tests) in the folder SUITE through the cache at BASE, and prints
 * one JSON object: the id of each required case, and true or why it failed.
 *
 *     node http_cache_suite.mjs SUITE BASE
 *     node http_cache_suite.mjs SUITE origin     its origin, on 127.0.0.1
 *
 * CACHE_SUITE_ID in the environment names one case to run and show instead.
 * The suite's own command line runs optimal and informative cases too.
 */

import http from 'node:http'
import path from 'node:path'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const [suite, base] = process.argv.slice(2)

const load = name => import(pathToFileURL(path.join(suite, name)))

if (base === 'origin') {
  const listen = http.Server.prototype.listen

  http.Server.prototype.listen = function (port) {
    return listen.call(this, port, '127.0.0.1')
  }

  await load('server/server.mjs')
  await new Promise(() => {})
}

const fetch = createRequire(path.join(suite, 'package.json'))('node-fetch')
const { runTests, getResults } = await load('client/runner.mjs')
const groups = (await load('tests/index.mjs')).default

const wanted = process.env.CACHE_SUITE_ID

/* "required" is the kind of a case that names none */

const required = groups.map(group => ({
  ...group,
  tests: group.tests.filter(test =>
    wanted ? test.id === wanted
      : (test.kind === undefined || test.kind === 'required'))
}))

if (wanted) {
  required.forEach(group => group.tests.forEach(test => { test.dump = true }))
}

/* the suite logs to stdout; the answer is alone there */

console.log = console.error

await runTests(required, fetch, false, base, 25)

process.stdout.write(JSON.stringify(getResults()) + '\n')
