// What no test of behaviour sees: the file must be ES2020, small as it is served, and complete as it is published.
const { readFileSync, existsSync } = require('node:fs');
const { join } = require('node:path');
const { gzipSync } = require('node:zlib');
const acorn = require('acorn');

const LIMIT = 13 * 1024;
const CLIENT = join(__dirname, '../../runtime/client');
const source = readFileSync(join(CLIENT, 'catamaran.io.js'), 'utf8');

acorn.parse(source, { ecmaVersion: 2020, sourceType: 'script' });
acorn.parse(source, { ecmaVersion: 2020, sourceType: 'module' });

const size = gzipSync(source).length;
console.log(`catamaran.io.js: ${source.length} bytes, ${size} gzipped, of ${LIMIT}`);
if (size > LIMIT) throw new Error('catamaran.io.js is too large');

const { files, main, types } = require(join(CLIENT, 'package.json'));
for (const file of [...files, main, types]) {
  if (!existsSync(join(CLIENT, file))) throw new Error(`package.json names ${file}, which is not there`);
}
