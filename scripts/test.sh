#!/usr/bin/env bash
# Everything that CI checks, in order. Installs what is missing first: npm packages, cargo-deny, and on Debian, as root
# or by sudo, nodejs, npm, chromium, redis-server, postgresql and nginx; elsewhere it says what to install and stops.
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
command -v cargo-deny >/dev/null || cargo install cargo-deny --version '^0.20' --locked --quiet

# What is built but once has nothing to gain from what is kept for the next build.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0

# The load tests hold thousands of sockets.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings
cargo clippy -p catamaran -p catamaran-tests --features catamaran-tests/backends --all-targets --locked -- -D warnings
cargo clippy -p catamaran-resources --features backends,mysql --all-targets --locked -- -D warnings

step "tests"
CATAMARAN_LEAK_CYCLES=50000 CATAMARAN_DIFFERENTIAL_REQUESTS=100000 CATAMARAN_MUTATED_PACKETS=100000 CATAMARAN_ACKED_REQUESTS=100000 \
  CATAMARAN_CROWD=2000 cargo test --workspace --exclude catamaran-benches --locked

step "several servers"
cargo test -p catamaran --features postgres,redis --lib --locked
cargo test -p catamaran-tests --features backends --test nginx --test postgres --test postgres_log --test redis --locked

step "resources on PostgreSQL"
cargo test -p catamaran-resources --features backends --lib --test it --locked

step "no log at TRACE says a secret"
CATAMARAN_CANARY=canary-7f3a cargo test -p catamaran-tests --test it --locked -- --skip leak::

step "docs"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps --locked

step "published clients"
npm --prefix tests/clients ci --no-audit --no-fund --loglevel=error
npm --prefix tests/clients test

step "our own client"
npm --prefix tests/client ci --no-audit --no-fund --loglevel=error
npm --prefix tests/client test

step "benches run"
cargo run --release --locked -p catamaran-benches -- --smoke

step "licences and sources"
cargo deny --log-level error check licenses bans sources

step "packages"
# Cargo keeps what it has unpacked of these packages by their versions, and would compare today's with an earlier one.
rm -rf "${CARGO_HOME:-$HOME/.cargo}"/registry/src/-*/catamaran*
cargo package --locked --allow-dirty -p catamaran-macros -p catamaran -p catamaran-resources

step "all passed"
