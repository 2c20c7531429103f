#![deny(warnings)]

use catamaran::{Ctx, Http, Transports, Socket, action, routes};

type Web = Ctx<Http>;
type Hull<T> = Ctx<T>;

#[action(get "/web")]
async fn web(_: Web) {}

#[action(get "/hull")]
async fn hull(ctx: Hull<Socket>) {
    let _ = ctx.socket();
}

#[action(get "/either")]
async fn either(ctx: Hull<Option<Socket>>) {
    let _: Option<&Socket> = ctx.socket();
}

/// The default parameter, written out.
#[action(get "/plain")]
async fn plain(ctx: Ctx<Option<Socket>>) {
    let _: Ctx = ctx;
}

pub(crate) fn main() {
    let table: catamaran::Table<()> = routes![web, hull, either, plain];
    assert_eq!(table.routes[0].transports, Transports::Http);
    assert_eq!(table.routes[1].transports, Transports::Socket);
    assert_eq!(table.routes[2].transports, Transports::Both);
    assert_eq!(table.routes[3].transports, Transports::Both);
}
