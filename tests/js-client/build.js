// Builds what browsers and programs load from the modules in runtime/client/src, and says what each part costs.
// `npm run build` writes the files, `npm run build -- --check` compares them with those that are there.
const { readFileSync, writeFileSync } = require('node:fs');
const { basename, join } = require('node:path');
const { gzipSync } = require('node:zlib');
const esbuild = require('esbuild');

const CLIENT = join(__dirname, '../../runtime/client');
const SOURCE = join(CLIENT, 'src');
const BANNER = '/*! catamaran.io.js: requests and events over one socket, in the place of sails.io.js. MIT OR Apache-2.0 */';
/** What browsers may have to load, minified and gzipped. */
const CORE_LIMIT = 10 * 1024;
const LIMIT = 16 * 1024;

/** The files that are built, by their entries. */
const ENTRIES = {
  'catamaran.io.js': { entry: 'script.js', format: 'iife' },
  'catamaran.io.mjs': { entry: 'module.js', format: 'esm' },
};
/** The core: `connect` and what it needs. It is measured, and not published. */
const CORE = 'core.mjs';

/**
 * Bundles one of the files, in memory.
 * @returns {{ code: string, map: string, parts: Record<string, number> }} `parts`: the bytes of each module
 */
function bundle(name, { minify = true } = {}) {
  const { entry, format } = name === CORE ? { entry: 'connect.js', format: 'esm' } : ENTRIES[name];
  const { outputFiles, metafile } = esbuild.buildSync({
    absWorkingDir: CLIENT,
    entryPoints: [`src/${entry}`],
    outfile: name,
    bundle: true,
    write: false,
    metafile: true,
    minify,
    format,
    target: 'es2020',
    charset: 'utf8',
    sourcemap: 'linked',
    banner: { js: BANNER },
    logLevel: 'error',
    logOverride: { 'commonjs-variable-in-esm': 'silent' },
  });
  const [{ inputs }] = Object.entries(metafile.outputs).filter(([file]) => file === name).map(([, output]) => output);
  const parts = Object.fromEntries(Object.entries(inputs).map(([file, { bytesInOutput }]) => [basename(file), bytesInOutput]));
  const text = (end) => outputFiles.find(({ path }) => path.endsWith(end)).text;
  return { code: text(name), map: text('.map'), parts };
}

/** The bytes of a module that is loaded alone, minified and gzipped. */
const alone = (file) => gzipSync(esbuild.transformSync(readFileSync(join(SOURCE, file), 'utf8'), { minify: true, target: 'es2020' }).code).length;

const gzipped = (name) => gzipSync(bundle(name).code).length;

/** What each part costs, for the README. */
function table() {
  const { parts } = bundle('catamaran.io.js');
  const core = bundle(CORE).parts;
  const rows = Object.entries(parts).sort(([, a], [, b]) => b - a).map(([file, bytes]) => {
    const text = readFileSync(join(SOURCE, file), 'utf8');
    const [, summary] = /\/\*\* ([^@\n]*?)\. .*\nexport class/.exec(text) || /^(?:\/\/|\/\*\*|\/\*\*\n \*) ([^@].*?)(?:\.\s|\.?$| \*\/)/m.exec(text);
    return `| [${file}](src/${file}) | ${bytes} | ${alone(file)} | ${file in core ? 'yes' : ''} | ${summary} |`;
  });
  return ['| module | minified | gzipped alone | in the core | |', '|---|---|---|---|---|', ...rows, '',
    `The core, \`connect.js\` and what it imports, is ${gzipped(CORE)} bytes gzipped, of at most ${CORE_LIMIT}.`,
    `\`catamaran.io.js\` is ${gzipped('catamaran.io.js')} and \`catamaran.io.mjs\` is ${gzipped('catamaran.io.mjs')} bytes gzipped, of at most ${LIMIT}.`].join('\n');
}

/** What the files should be. */
function built() {
  const files = {};
  for (const name of Object.keys(ENTRIES)) {
    const { code, map } = bundle(name);
    Object.assign(files, { [name]: code, [`${name}.map`]: map });
  }
  const readme = readFileSync(join(CLIENT, 'README.md'), 'utf8');
  files['README.md'] = readme.replace(/(?<=<!-- costs -->\n)[^]*(?=<!-- end of costs -->)/, () => `${table()}\n`);
  return files;
}

/** Whether two texts differ in more than their numbers, or a number by more than a fiftieth: each zlib packs a little differently. */
function differ(one, other) {
  const words = (text) => text.replace(/\d+/g, '0');
  const numbers = (text) => (text.match(/\d+/g) || []).map(Number);
  const [ours, theirs] = [numbers(one), numbers(other)];
  return words(one) !== words(other) || ours.some((number, i) => Math.abs(number - theirs[i]) > theirs[i] / 50);
}

/** The names of files that are not as they would be built now. */
function stale() {
  const isStale = ([name, text]) => {
    try {
      const there = readFileSync(join(CLIENT, name), 'utf8');
      return name === 'README.md' ? differ(there, text) : there !== text;
    } catch {
      return true;
    }
  };
  return Object.entries(built()).filter(isStale).map(([name]) => name);
}

module.exports = { CLIENT, CORE, CORE_LIMIT, LIMIT, bundle, gzipped, stale };

if (require.main === module) {
  if (process.argv.includes('--check')) {
    const files = stale();
    if (files.length > 0) throw new Error(`not as built from runtime/client/src: ${files.join(', ')}; run \`npm --prefix tests/js-client run build\``);
  } else {
    for (const [name, text] of Object.entries(built())) writeFileSync(join(CLIENT, name), text);
    console.log(`core ${gzipped(CORE)}, everything ${gzipped('catamaran.io.js')} bytes gzipped`);
  }
}
