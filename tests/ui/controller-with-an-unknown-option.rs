use catamaran::controller;

#[controller("/x", guard = Admin)]
mod x {}

fn main() {}
