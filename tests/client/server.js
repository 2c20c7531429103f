// Starts a Rust server of the workspace.
const { execFileSync, spawn } = require('node:child_process');
const { once } = require('node:events');
const { join } = require('node:path');
const { createInterface } = require('node:readline');
const { within } = require('./within.js');

const built = new Map();

/** Builds a binary of the workspace, once, and returns its path. */
function binary(name) {
  if (!built.has(name)) built.set(name, build(name));
  return built.get(name);
}

function build(name) {
  const messages = execFileSync('cargo', ['build', '--quiet', '--locked', '--bin', name, '--message-format=json-render-diagnostics'],
    { cwd: join(__dirname, '../..'), stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8', maxBuffer: Infinity });
  const artifacts = messages.trim().split('\n').map((line) => JSON.parse(line));
  return artifacts.find(({ executable, target }) => executable && target.name === name).executable;
}

/** Starts a binary of the workspace. */
const start = (name, ...args) => run(binary(name), args);

/** Starts a program that prints `listening on URL`. @returns {Promise<{ url: string, stop(signal?: string): Promise<void> }>} */
async function run(program, args) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  const kill = () => child.kill('SIGKILL');
  process.on('exit', kill);
  const exit = once(child, 'exit').then(() => { process.off('exit', kill); });
  const [line] = await within(once(createInterface({ input: child.stdout }), 'line'), `${program} to listen`);
  return {
    url: line.replace('listening on ', ''),
    stop(signal = 'SIGTERM') {
      child.kill(signal);
      return within(exit, `the end of ${program}`);
    },
  };
}

module.exports = { binary, run, start };
