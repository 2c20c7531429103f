// The example `pets`, each time with a database of its own.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What the server runs with; the file is gone after the test. */
export function database(t) {
  const folder = mkdtempSync(join(tmpdir(), 'catamaran-pets-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return { DATABASE_URL: `sqlite://${join(folder, 'pets.db')}` }
}
