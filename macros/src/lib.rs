//! The controller DSL of [catamaran](https://docs.rs/catamaran), which re-exports and documents these macros.
//!
//! Each macro goes through the same stages: `attr` reads what stands in its parentheses, `model` reads the item below,
//! `check` says what is wrong with it, `expand` writes the code. Code is written even when something is wrong, so
//! that one mistake gives one error.

use proc_macro::TokenStream;

mod action;
mod attr;
mod channel;
mod check;
mod controller;
mod event;
mod expand;
mod model;
#[cfg(test)]
mod snapshots;
mod table;

/// See `catamaran::action`.
#[proc_macro_attribute]
pub fn action(attr: TokenStream, item: TokenStream) -> TokenStream {
    action::action(attr.into(), item.into()).into()
}

/// See `catamaran::controller`.
#[proc_macro_attribute]
pub fn controller(attr: TokenStream, item: TokenStream) -> TokenStream {
    controller::controller(attr.into(), &item.into()).into()
}

/// See `catamaran::actions`.
#[proc_macro]
pub fn actions(input: TokenStream) -> TokenStream {
    table::actions(input.into()).into()
}

/// See `catamaran::routes`.
#[proc_macro]
pub fn routes(input: TokenStream) -> TokenStream {
    table::routes(input.into()).into()
}

/// See `catamaran::channel`.
#[proc_macro_attribute]
pub fn channel(attr: TokenStream, item: TokenStream) -> TokenStream {
    channel::channel(attr.into(), &item.into()).into()
}

/// See `catamaran::Event`.
#[proc_macro_derive(Event, attributes(event))]
pub fn event(item: TokenStream) -> TokenStream {
    event::event(item.into()).into()
}

/// The names of events that Socket.IO and its clients raise themselves, for the runtime's own use.
#[doc(hidden)]
#[proc_macro]
pub fn reserved_events(_: TokenStream) -> TokenStream {
    event::reserved().into()
}
