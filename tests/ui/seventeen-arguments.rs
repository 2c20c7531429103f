use axum::http::Method;
use catamaran::action;

#[action(get "/x")]
async fn x(
    _: Method, _: Method, _: Method, _: Method, _: Method, _: Method, _: Method, _: Method, _: Method,
    _: Method, _: Method, _: Method, _: Method, _: Method, _: Method, _: Method, one_too_many: Method,
) {
    let _ = one_too_many;
}

fn main() {}
