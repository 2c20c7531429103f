// Starts a Rust server of the workspace.
const { execFileSync, spawn } = require('node:child_process');
const { once } = require('node:events');
const { join } = require('node:path');
const { createInterface } = require('node:readline');
const { within } = require('./within.js');

const built = new Map();

/** Builds a binary of the workspace, once, and returns its path. `CATAMARAN_BINARIES` names a folder that has them already. */
function binary(name, ...options) {
  if (process.env.CATAMARAN_BINARIES) return join(process.env.CATAMARAN_BINARIES, name);
  if (!built.has(name)) built.set(name, build(name, options));
  return built.get(name);
}

function build(name, options) {
  const messages = execFileSync('cargo',
    ['build', '--quiet', '--locked', '--bin', name, ...options, '--message-format=json-render-diagnostics'],
    { cwd: join(__dirname, '../..'), stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8', maxBuffer: Infinity });
  const artifacts = messages.trim().split('\n').map((line) => JSON.parse(line));
  return artifacts.find(({ executable, target }) => executable && target.name === name).executable;
}

/** Starts a binary of the workspace. */
const start = (name, ...args) => run(binary(name), args);

/**
 * Starts a program that prints `listening on URL`, with more in its environment.
 * @returns {Promise<{ url: string, pid: number, signal(name: string): void, stop(signal?: string): Promise<void> }>}
 */
async function run(program, args, environment = {}) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'], env: { ...process.env, ...environment } });
  const kill = () => child.kill('SIGKILL');
  process.on('exit', kill);
  const exit = once(child, 'exit').then(() => { process.off('exit', kill); });
  const [line] = await within(once(createInterface({ input: child.stdout }), 'line'), `${program} to listen`);
  return {
    url: line.replace('listening on ', ''),
    pid: child.pid,
    signal(name) { child.kill(name); },
    stop(signal = 'SIGTERM') {
      child.kill(signal);
      return within(exit, `the end of ${program}`);
    },
  };
}

module.exports = { binary, run, start };
