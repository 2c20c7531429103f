// Prints what the client costs a page, and fails above the limit.
const { readFileSync } = require('node:fs');
const { gzipSync } = require('node:zlib');
const { join } = require('node:path');

const LIMIT = 12 * 1024;
const file = readFileSync(join(__dirname, '../../runtime/client/catamaran.io.js'));
const size = gzipSync(file).length;
console.log(`catamaran.io.js: ${file.length} bytes, ${size} gzipped, of ${LIMIT}`);
process.exitCode = size > LIMIT ? 1 : 0;
