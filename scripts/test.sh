#!/usr/bin/env bash
# Everything that CI checks. Installs what is missing first: npm packages, cargo-deny, and on Debian, as root or by sudo, nodejs,
# npm, chromium, redis-server, postgresql and nginx; elsewhere it says what to install and stops.
#
# It builds everything, then runs the pieces of the test beside each other, and last, alone, those that load the machine. The output
# of a piece is printed when it ends. If one fails the others go on, and its output is printed at the end.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# need COMMAND PACKAGE...: installs the Debian packages if the command is missing.
need() {
  command -v "$1" >/dev/null && return
  if ! command -v apt-get >/dev/null || { [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; }; then
    echo "scripts/test.sh needs \`$1\`: install it (on Debian: apt-get install ${*:2}) and run again." >&2
    exit 1
  fi
  as_root apt-get update -qq
  as_root apt-get install -y -qq --no-install-recommends "${@:2}"
}

if [ "${BASH_VERSINFO[0]}${BASH_VERSINFO[1]}" -lt 51 ]; then
  echo "scripts/test.sh needs bash 5.1: install it and run again." >&2
  exit 1
fi
if ! command -v cargo >/dev/null; then
  echo "scripts/test.sh needs Rust: see https://rustup.rs, and run again." >&2
  exit 1
fi
need cc gcc libc6-dev
need node nodejs npm
need npm npm
need chromium chromium
need redis-server redis-server
# Debian keeps the programs of the server outside of PATH.
debian_postgres() { printf ':%s' /usr/lib/postgresql/*/bin; }
PATH="$PATH$(debian_postgres):/usr/sbin"
need initdb postgresql
PATH="$PATH$(debian_postgres)"
need nginx nginx

# What is built but once has nothing to gain from what is kept for the next build.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0

# The load tests hold thousands of sockets.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

# One set of features for all steps: cargo compiles a crate again for each other set.
everything=(--workspace --all-features --locked)
binaries="${CARGO_TARGET_DIR:-$PWD/target}/debug"

tests=(env CATAMARAN_DIFFERENTIAL_REQUESTS=100000 CATAMARAN_MUTATED_PACKETS=100000 CATAMARAN_ACKED_REQUESTS=100000
  CATAMARAN_CANARY=canary-7f3a)

# Databases, browsers and logs, of which nothing stays, are kept in memory where there is much of it: on a disk, making them takes
# longer than using them. PostgreSQL, which does not run as root, passes through this directory.
memory=/dev/shm
enough_kib=$((6 * 1024 * 1024))
if [ "$(df --output=avail -k "$memory" 2>/dev/null | tail -1)" -ge "$enough_kib" ] 2>/dev/null; then
  temporary="$(mktemp -d -p "$memory" catamaran-XXXXXX)"
else
  temporary="$(mktemp -d)"
fi
chmod 755 "$temporary"
export TMPDIR="$temporary"

# Each piece is a process group of its own, so that nothing is left behind when this script is stopped.
set -m
logs="$temporary/logs"
mkdir "$logs"
declare -A running=() began=()
failed=()

stop() {
  local group
  for group in "${!running[@]}"; do kill -- "-$group" 2>/dev/null || true; done
  rm -rf "$temporary"
}
trap stop EXIT
trap 'exit 130' HUP INT TERM

# start NAME COMMAND...: runs a piece in the background, as soon as fewer run than there are processors and one.
start() {
  while [ "${#running[@]}" -gt "$(getconf _NPROCESSORS_ONLN)" ]; do await; done
  local name="$1"
  "${@:2}" >"$logs/$name" 2>&1 </dev/null &
  running[$!]="$name"
  began[$!]=$SECONDS
}

# Waits until a piece ends, and prints its output unless it failed.
await() {
  local ended status=0
  wait -n -p ended "${!running[@]}" || status=$?
  local name="${running[$ended]}" seconds=$((SECONDS - ${began[$ended]}))
  unset "running[$ended]"
  if [ "$status" = 0 ]; then
    step "$name: passed in $seconds s"
    cat "$logs/$name"
  else
    step "$name: FAILED in $seconds s, see the end"
    failed+=("$name")
  fi
}

await_all() {
  while [ "${#running[@]}" -gt 0 ]; do await; done
}

third_party_clients() {
  npm --prefix tests/third-party-clients ci --no-audit --no-fund --loglevel=error
  CATAMARAN_BINARIES="$binaries" npm --prefix tests/third-party-clients test
}

catamaran_client() {
  cd tests/js-client
  npm ci --no-audit --no-fund --loglevel=error
  npm run check
  local files
  files="$(ls -- *.test.js | grep -vE '^(cluster|outage|revoke|rolling|storm)\.')"
  # shellcheck disable=SC2086
  CATAMARAN_BINARIES="$binaries" node --test --test-concurrency=3 $files
  CATAMARAN_BINARIES="$binaries" npm run test:src
}

licences() {
  # In debug, since it compiles in half the time and runs once.
  command -v cargo-deny >/dev/null || nice cargo install cargo-deny --version '^0.20' --locked --quiet --debug
  cargo deny --log-level error check licenses bans sources
}

step "format"
cargo fmt --all --check

step "lints"
cargo clippy "${everything[@]}" --all-targets -- -D warnings

step "build"
cargo build "${everything[@]}" --all-targets

# The longest first. `nice` is for those that compute: they give way to those with timeouts. MySQL needs a server that somebody
# starts: CONTRIBUTING.md. With the canary, `it` is also a test that no log says a secret.
start "third-party clients" third_party_clients
start "tests of running servers" \
  "${tests[@]}" cargo test "${everything[@]}" --no-fail-fast --test it -- --skip mysql:: --skip leak:: --skip crowd::
start "catamaran client" catamaran_client
# `???*` is every name but `it`; none is shorter.
start "other tests" \
  "${tests[@]}" nice cargo test "${everything[@]}" --no-fail-fast --lib --bins --examples --test '???*'
# They measure the memory of a process of their own, and without the canary.
start "leaks" env CATAMARAN_LEAK_CYCLES=30000 cargo test "${everything[@]}" --test it -- --test-threads 1 leak::
start "doctests" nice cargo test "${everything[@]}" --no-fail-fast --doc
start "benches run" nice "$binaries/catamaran-benches" --smoke
start "docs" env RUSTDOCFLAGS="-D warnings" nice cargo doc "${everything[@]}" --no-deps
start "packages" nice ./scripts/check-packages.sh
start "licences and sources" licences
await_all

# Alone: they load the machine, or measure what a restart costs, which is unknown where a publish takes more than a second.
several_servers() {
  cd tests/js-client
  export CATAMARAN_BINARIES="$binaries"
  node --test --test-concurrency=2 outage-postgres.test.js outage-redis.test.js cluster.test.js revoke.test.js
  node --test --test-concurrency=1 rolling.test.js storm.test.js
}
start "crowd" env CATAMARAN_CROWD=2000 cargo test "${everything[@]}" --test it -- --test-threads 1 crowd::
await_all
start "several servers, and storm" several_servers
await_all

for name in ${failed[@]+"${failed[@]}"}; do
  step "$name: FAILED"
  cat "$logs/$name"
done
[ "${#failed[@]}" = 0 ] || { step "failed: ${failed[*]}"; exit 1; }
step "all passed in $SECONDS s"
