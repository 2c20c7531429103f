#![deny(warnings)]

use catamaran::{Ctx, Http, Reach, Socket, action, routes};

type Web = Ctx<Http>;
type Hull<T> = Ctx<T>;

#[action(get "/web")]
async fn web(_: Web) {}

#[action(get "/hull")]
async fn hull(ctx: Hull<Socket>) {
    let _ = ctx.socket();
}

pub(crate) fn main() {
    let table: catamaran::Table<()> = routes![web, hull];
    assert_eq!(table.routes[0].reach, Reach::Http);
    assert_eq!(table.routes[1].reach, Reach::Socket);
}
