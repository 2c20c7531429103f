use catamaran::{Ctx, Http, RequestSocket, action};

type Caller = RequestSocket;
type Web = Ctx<Http>;

#[action(get "/x")]
async fn x(_: Caller, _: Web) {}

fn main() {}
