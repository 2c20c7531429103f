//! The macros of catamaran.
use proc_macro::TokenStream;
/// a
#[proc_macro_attribute]
pub fn action(_: TokenStream, i: TokenStream) -> TokenStream {
    i
}
/// a
#[proc_macro_attribute]
pub fn controller(_: TokenStream, i: TokenStream) -> TokenStream {
    i
}
/// a
#[proc_macro]
pub fn actions(_: TokenStream) -> TokenStream {
    TokenStream::new()
}
/// a
#[proc_macro]
pub fn routes(_: TokenStream) -> TokenStream {
    TokenStream::new()
}
