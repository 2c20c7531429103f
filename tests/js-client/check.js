// What no test of behaviour sees: the files must be as they would be built now, ES2020, small, and complete as they are published.
const { readFileSync, existsSync } = require('node:fs');
const { join } = require('node:path');
const acorn = require('acorn');
const { CLIENT, CORE, CORE_LIMIT, LIMIT, gzipped, stale } = require('./build.js');

const old = stale();
if (old.length > 0) throw new Error(`not as built from runtime/client/src: ${old.join(', ')}; run \`npm --prefix tests/js-client run build\``);

const source = readFileSync(join(CLIENT, 'catamaran.io.js'), 'utf8');
acorn.parse(source, { ecmaVersion: 2020, sourceType: 'script' });
acorn.parse(source, { ecmaVersion: 2020, sourceType: 'module' });
acorn.parse(readFileSync(join(CLIENT, 'catamaran.io.mjs'), 'utf8'), { ecmaVersion: 2020, sourceType: 'module' });

for (const [name, limit] of [[CORE, CORE_LIMIT], ['catamaran.io.mjs', LIMIT], ['catamaran.io.js', LIMIT]]) {
  const size = gzipped(name);
  console.log(`${name}: ${size} bytes gzipped, of ${limit}`);
  if (size > limit) throw new Error(`${name} is too large`);
}

const { files, main, types } = require(join(CLIENT, 'package.json'));
for (const file of [...files, main, types]) {
  if (!existsSync(join(CLIENT, file))) throw new Error(`package.json names ${file}, which is not there`);
}
