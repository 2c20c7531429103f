// Redis and Postgres servers of a test's own, on free ports, that can be treated badly.
const { execFile, spawn } = require('node:child_process');
const { once } = require('node:events');
const { chownSync, existsSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync } = require('node:fs');
const { createServer } = require('node:net');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');
const { promisify } = require('node:util');
const { within } = require('./within.js');

const run = promisify(execFile);

/** A port that nobody listens on. */
async function freePort() {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address();
  listener.close();
  await once(listener, 'close');
  return port;
}

/** Waits until something is so. */
async function until(what, so) {
  let given = false;
  const look = async () => {
    while (!given && !await so()) await sleep(10);
  };
  await within(look(), what).finally(() => { given = true; });
}

/** What both have in common: a process, in a directory of its own. */
class Backend {
  /** Makes one that is empty, and starts it. */
  static async start() {
    const backend = new this();
    backend.directory = mkdtempSync(join(tmpdir(), 'catamaran-backend-'));
    backend.port = await freePort();
    backend.kills = () => backend.signal('SIGKILL');
    process.on('exit', backend.kills);
    await backend.create();
    await backend.run();
    return backend;
  }

  /** Starts it where it was, with what it has. */
  async run() {
    const { program, args, options } = this.command();
    this.child = spawn(program, args, { cwd: this.directory, stdio: 'ignore', ...options });
    this.exit = once(this.child, 'exit');
    await until(`${program}`, () => this.answers());
  }

  /** Ends it as a crash would. */
  async crash() {
    this.signal('SIGCONT');
    this.signal(this.crashes);
    await within(this.exit, 'the end of a backend');
  }

  freeze() { this.signal('SIGSTOP'); }

  thaw() { this.signal('SIGCONT'); }

  signal(name) {
    if (!this.child || this.child.exitCode !== null || this.child.signalCode !== null) return;
    for (const pid of this.processes()) {
      try {
        process.kill(pid, name);
      } catch (error) {
        // It may have ended since it was listed.
        if (error.code !== 'ESRCH') throw error;
      }
    }
  }

  /** Crashes, and comes back knowing nothing. */
  async restartEmpty() {
    await this.crash();
    await this.clear();
    await this.run();
  }

  /** Another server, which knows what this one does until it is promoted. */
  async replicate() {
    const replica = new this.constructor();
    replica.directory = mkdtempSync(join(tmpdir(), 'catamaran-backend-'));
    replica.port = await freePort();
    replica.kills = () => replica.signal('SIGKILL');
    process.on('exit', replica.kills);
    await replica.follow(this);
    return replica;
  }

  async close() {
    if (this.child.exitCode === null && this.child.signalCode === null) await this.crash();
    process.off('exit', this.kills);
    rmSync(this.directory, { recursive: true });
  }
}

class Redis extends Backend {
  crashes = 'SIGKILL';

  environment(port) { return { REDIS_URL: `redis://127.0.0.1:${port}` }; }

  create() {}

  command() {
    return {
      program: 'redis-server',
      args: ['--bind', '127.0.0.1', '--port', `${this.port}`, '--save', '', '--appendonly', 'no', '--dir', this.directory,
        '--repl-diskless-sync-delay', '0'],
    };
  }

  processes() { return [this.child.pid]; }

  async ask(...words) {
    const { stdout } = await run('redis-cli', ['-h', '127.0.0.1', '-p', `${this.port}`, ...words]);
    return stdout.trim();
  }

  answers() { return this.ask('PING').then((answer) => answer === 'PONG', () => false); }

  async clear() { rmSync(join(this.directory, 'dump.rdb'), { force: true }); }

  /** Notes what it knows. */
  async snapshot() { await this.ask('SAVE'); }

  /** Crashes, and comes back with what it knew then. */
  async restartOld() {
    await this.crash();
    await this.run();
  }

  /** Crashes, and comes back with what it knew just before. */
  async restart() {
    await this.snapshot();
    await this.restartOld();
  }

  /** Forgets most of what it knows, to make room. */
  async evict() {
    await this.ask('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-random');
    await this.ask('CONFIG', 'SET', 'maxmemory', '1');
    await this.ask('CONFIG', 'SET', 'maxmemory', '0');
  }

  async follow(master) {
    await this.run();
    await this.ask('REPLICAOF', '127.0.0.1', `${master.port}`);
    await until('a replica', async () => /master_link_status:up/.test(await this.ask('INFO', 'replication')));
  }

  async promote() { await this.ask('REPLICAOF', 'NO', 'ONE'); }
}

/** Where Debian has the programs of Postgres, which are not on the PATH. */
const DEBIAN = '/usr/lib/postgresql';
const programs = () => {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN).sort((a, b) => b - a) : [];
  return versions.length > 0 ? join(DEBIAN, versions[0], 'bin') : '';
};

class Postgres extends Backend {
  // At once, as if all of its processes were killed; it recovers when it is started again.
  crashes = 'SIGQUIT';

  /** It does not run as root. */
  options() {
    if (process.getuid() !== 0) return {};
    const [, uid, gid] = /^postgres:[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'));
    return { uid: Number(uid), gid: Number(gid) };
  }

  environment(port) { return { DATABASE_URL: `postgres://postgres@127.0.0.1:${port}/postgres` }; }

  program(name, ...args) { return run(join(programs(), name), args, { cwd: this.directory, ...this.options() }); }

  own() {
    const { uid, gid } = this.options();
    if (uid !== undefined) chownSync(this.directory, uid, gid);
  }

  async create() {
    this.own();
    await this.program('initdb', '-D', 'data', '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync');
  }

  command() {
    // What it shares in memory is in its directory too: nothing is left of a server that was killed.
    const settings = [
      'fsync=off', 'listen_addresses=127.0.0.1', 'unix_socket_directories=', 'dynamic_shared_memory_type=mmap', `port=${this.port}`,
    ];
    return {
      program: join(programs(), 'postgres'),
      args: ['-D', 'data', ...settings.flatMap((setting) => ['-c', setting])],
      options: this.options(),
    };
  }

  /** Each connection has a process of its own. */
  processes() {
    const { pid } = this.child;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
    return [pid, ...children.map(Number)];
  }

  signal(name) {
    // It ends its other processes by itself, as they are to be recovered.
    if (name !== this.crashes) return super.signal(name);
    this.child.kill(name);
  }

  async ask(sql) {
    const { stdout } = await this.program('psql', '-h', '127.0.0.1', '-p', `${this.port}`, '-U', 'postgres', '-Atc', sql);
    return stdout.trim();
  }

  answers() { return this.ask('SELECT 1').then((answer) => answer === '1', () => false); }

  async clear() {
    rmSync(join(this.directory, 'data'), { recursive: true });
    await this.create();
  }

  copy(to, port, ...more) {
    return this.program('pg_basebackup', '-h', '127.0.0.1', '-p', `${port}`, '-U', 'postgres', '-D', to, '-X', 'stream',
      '--checkpoint=fast', '--no-sync', ...more);
  }

  async snapshot() {
    rmSync(join(this.directory, 'old'), { recursive: true, force: true });
    await this.copy('old', this.port);
  }

  async restartOld() {
    await this.crash();
    rmSync(join(this.directory, 'data'), { recursive: true });
    renameSync(join(this.directory, 'old'), join(this.directory, 'data'));
    await this.run();
  }

  async restart() {
    await this.crash();
    await this.run();
  }

  async follow(master) {
    this.own();
    await this.copy('data', master.port, '-R');
    await this.run();
  }

  async promote() { await this.ask('SELECT pg_promote()'); }
}

module.exports = { Postgres, Redis, until };
