use catamaran::{Ctx, Http, Socket, action};

type Caller = Socket;
type Web = Ctx<Http>;

#[action(get "/x")]
async fn x(_: Caller, _: Web) {}

fn main() {}
