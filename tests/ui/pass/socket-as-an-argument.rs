use catamaran::{App, Ctx, Reach, RequestSocket, Socket, action, routes};

type Caller = RequestSocket;
type Maybe = Option<RequestSocket>;

#[action(get "/a")]
async fn alone(_: RequestSocket) {}

#[action(get "/b")]
async fn by_alias(_: Caller) {}

#[action(get "/c")]
async fn beside_any(_: Ctx, _: RequestSocket) {}

#[action(get "/d")]
async fn beside_a_socket(_: Caller, _: Ctx<Socket>) {}

#[action(get "/e/{id}")]
async fn optional(_: Option<RequestSocket>, id: u64) -> String {
    id.to_string()
}

#[action(get "/f")]
async fn optional_by_alias(_: Ctx, _: Maybe) {}

#[action(get "/g")]
async fn guarded() {}

pub(crate) fn main() {
    let table = routes![
        alone,
        by_alias,
        beside_any,
        beside_a_socket,
        guarded => Caller,
        optional,
        optional_by_alias => Maybe,
    ];
    let reach: Vec<Reach> = App::new(()).mount(table).routes().map(|route| route.reach).collect();
    assert_eq!(reach, [[Reach::Socket; 5].as_slice(), &[Reach::Both; 2]].concat());
}
