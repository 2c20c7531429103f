// The client under test: the files as they are published, or with `CATAMARAN_CLIENT=src` the modules that they are built
// from, as these lie now and not minified.
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { CLIENT, bundle } = require('./build.js');

const FROM_SOURCE = process.env.CATAMARAN_CLIENT === 'src';

/** The text of `catamaran.io.js` or `catamaran.io.mjs`. */
const text = (name) => (FROM_SOURCE ? bundle(name, { minify: false }).code : readFileSync(join(CLIENT, name), 'utf8'));

/** What `require('catamaran.io.js')` returns. */
function load() {
  if (!FROM_SOURCE) return require(join(CLIENT, 'catamaran.io.js'));
  const loaded = { exports: {} };
  new Function('module', text('catamaran.io.js'))(loaded);
  return loaded.exports;
}

module.exports = { catamaran: load(), text };
