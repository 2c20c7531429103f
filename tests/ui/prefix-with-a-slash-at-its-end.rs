use catamaran::controller;

#[controller("/x/")]
mod x {}

fn main() {}
