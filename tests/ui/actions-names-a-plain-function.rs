use catamaran::actions;

actions! { "/users" => list }

pub async fn list() {}

fn main() {}
