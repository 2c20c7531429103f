use catamaran::controller;

#[controller("/x")]
fn x() {}

fn main() {}
