use catamaran::controller;

#[controller("/x")]
#[path = "support/own_file.rs"]
mod own_file;

fn main() {}
