#!/usr/bin/env bash
# What the macros cost to compile: crates with 10, 100 and 1,000 actions, in controllers of ten, beside the same handlers
# by hand with axum; and one with 20 resources, beside the same entities without `#[resource]`. The dependencies are built before
# the clock starts; figures are seconds, medians of ROUNDS.
#
#   clean    nothing of the crate itself is there
#   edited   one handler, or one field, has changed since
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${ROUNDS:-3}
counts=${COUNTS-10 100 1000}
models=${MODELS:-20}
root=$PWD
work=$root/target/compile-cost
export CARGO_TARGET_DIR=$work/target

manifest() { # manifest NAME DEPENDENCIES
  cat <<END
[package]
name = "$1"
version = "0.0.0"
edition = "2024"

[dependencies]
$2

[workspace]
END
}

for_actions='axum = "0.8.9"
catamaran = { path = "'$root'/runtime" }
socketioxide = "0.18.9"
tokio = { version = "1", features = ["macros", "net", "rt-multi-thread"] }'

for_models='catamaran = { path = "'$root'/runtime" }
catamaran-resources = { path = "'$root'/resources" }
garde = { version = "0.23", default-features = false, features = ["derive"] }
sea-orm = { version = "2.0.4", default-features = false, features = ["macros"] }
tokio = { version = "1", features = ["macros", "rt-multi-thread"] }'

with_macros() { # with_macros ACTIONS
  local names="" c a
  echo 'use catamaran::prelude::*;'
  for ((c = 0; c < $1 / 10; c++)); do
    names+="c$c, "
    echo "#[controller(\"/c$c\")] mod c$c { use axum::Json; use super::*;"
    for ((a = 0; a < 10; a++)); do
      echo "    #[action(get \"/a$a/{id}\")] pub(crate) async fn a$a(id: u64) -> Json<u64> { Json(id + $a) }"
    done
    echo '}'
  done
  echo '#[tokio::main]'
  echo 'async fn main() -> Result<(), catamaran::ServeError> {'
  echo "    App::new(()).mount(routes![$names]).serve(\"127.0.0.1:0\").await"
  echo '}'
}

by_hand() { # by_hand ACTIONS
  local merged="" c a
  echo 'use axum::Router;'
  echo 'use socketioxide::SocketIo;'
  for ((c = 0; c < $1 / 10; c++)); do
    merged+=".merge(c$c::routes())"
    echo "mod c$c { use axum::{Json, Router, extract::Path, routing::get};"
    for ((a = 0; a < 10; a++)); do
      echo "    pub(crate) async fn a$a(Path(id): Path<u64>) -> Json<u64> { Json(id + $a) }"
    done
    echo '    pub(crate) fn routes() -> Router { Router::new()'
    for ((a = 0; a < 10; a++)); do
      echo "        .route(\"/c$c/a$a/{id}\", get(a$a))"
    done
    echo '    }'
    echo '}'
  done
  echo '#[tokio::main]'
  echo 'async fn main() -> std::io::Result<()> {'
  # A server for both transports links Socket.IO too.
  echo '    let (sockets, io) = SocketIo::new_layer();'
  echo '    io.ns("/", async || {});'
  echo '    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;'
  echo "    axum::serve(listener, Router::new()$merged.layer(sockets)).await"
  echo '}'
}

entity() { # entity NUMBER
  echo "mod m$1 { use sea_orm::entity::prelude::*;"
  $resource "#[catamaran_resources::resource(path = \"/m$1\", policy = catamaran_resources::Public)]"
  cat <<END
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "m$1")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub name: String,
    pub email: String,
    pub motto: Option<String>,
    pub age: i32,
    pub weight: Option<i32>,
    pub active: bool,
    pub edited: i64,
}
impl ActiveModelBehavior for ActiveModel {} }
END
}

models() { # models MODELS, with `resource` as a command that prints the attribute or does not
  local names="" registered="" mount="" m
  for ((m = 0; m < $1; m++)); do
    entity "$m"
    names+="m$m, "
    registered+=".register(m$m::Entity)"
  done
  [ "$resource" = : ] || mount=".mount(routes![$names])"
  echo 'use catamaran::prelude::*;'
  echo 'use catamaran_resources::Resources;'
  echo '#[tokio::main]'
  echo 'async fn main() -> catamaran::Result {'
  echo '    let resources = Resources::open("sqlite::memory:").await?;'
  echo "    resources.sync(|schema| schema$registered).await?;"
  echo "    Ok(App::new(resources)$mount.serve(\"127.0.0.1:0\").await?)"
  echo '}'
}

resources() { resource=echo models "$1"; }

entities() { resource=: models "$1"; }

generate() { # generate NAME DEPENDENCIES GENERATOR COUNT
  mkdir -p "$work/$1/src"
  manifest "$1" "$2" >"$work/$1/Cargo.toml"
  cp "$root/Cargo.lock" "$work/$1/Cargo.lock"
  "$3" "$4" >"$work/$1/src/main.rs"
}

cargo_in() { # cargo_in NAME ARGUMENT...
  local name=$1
  shift
  (cd "$work/$name" && cargo "$@" --quiet)
}

seconds() { # seconds NAME COMMAND
  local start end
  start=$(date +%s%N)
  cargo_in "$1" "$2"
  end=$(date +%s%N)
  awk -v nanoseconds=$((end - start)) 'BEGIN { printf "%.3f\n", nanoseconds / 1e9 }'
}

measure() { # measure NAME COMMAND: appends to the figures of NAME
  cargo_in "$1" clean -p "$1"
  seconds "$1" "$2" >>"$work/$1/$2-clean"
  sed -i '0,/Json(id + \([0-9]*\))/s//Json(id + 1\1)/' "$work/$1/src/main.rs"
  sed -i '0,/pub edited\([0-9]*\)/s//pub edited\11/' "$work/$1/src/main.rs"
  seconds "$1" "$2" >>"$work/$1/$2-edited"
}

median() { sort -n "$1" | sed -n "$(((rounds + 1) / 2))p"; }

compare() { # compare WHAT COUNT OURS HAND
  local name command state round
  for name in "$3" "$4"; do
    rm -f "$work/$name/"{check,build}-{clean,edited}
    cargo_in "$name" check
    cargo_in "$name" build
  done
  for ((round = 0; round < rounds; round++)); do
    for command in check build; do
      measure "$3" "$command"
      measure "$4" "$command"
    done
  done
  for command in check build; do
    for state in clean edited; do
      awk -v count="$2 $1" -v what="$command, $state" -v ours="$(median "$work/$3/$command-$state")" \
        -v hand="$(median "$work/$4/$command-$state")" \
        'BEGIN { printf "%-14s %-14s %10.2f %10.2f %8.2f\n", count, what, ours, hand, ours / hand }'
    done
  done
}

printf '%-14s %-14s %10s %10s %8s\n' "" what macros "by hand" ratio
for count in $counts; do
  generate "macros-$count" "$for_actions" with_macros "$count"
  generate "hand-$count" "$for_actions" by_hand "$count"
  compare actions "$count" "macros-$count" "hand-$count"
done
generate resources "$for_models" resources "$models"
generate entities "$for_models" entities "$models"
compare models "$models" resources entities
