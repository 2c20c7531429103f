//! `actions!` and `routes!`: lists of what other macros wrote.

use catamaran_macros_core::{Errors, path};
use proc_macro2::TokenStream;
use quote::quote;

use crate::{
    attr::{ActionsInput, RoutesInput},
    expand, model,
};

pub(crate) fn actions(input: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let input: ActionsInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => {
            errors.add(error);
            let empty = expand::controller(&model::no_state(), &[]);
            return quote!(#(#empty)* #errors);
        }
    };
    let prefix = path::prefix(&input.controller.prefix, &mut errors);
    if prefix.value().contains('{') {
        let message = "a parameter cannot stand in the prefix of `actions!`, which does not see the arguments; \
                       write it in each action's path, or use `#[controller]`";
        errors.at(prefix.span(), message);
    }
    let code = expand::actions(&prefix, &input);
    quote!(#code #errors)
}

pub(crate) fn routes(input: TokenStream) -> TokenStream {
    match syn::parse2::<RoutesInput>(input) {
        Ok(input) => expand::routes(&input),
        Err(error) => {
            let error = error.to_compile_error();
            quote!({ #error ::catamaran::Table { routes: &[], controllers: &[] } })
        }
    }
}
