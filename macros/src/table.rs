//! `actions!` and `routes!`: lists of what other macros wrote.

use catamaran_macros_core::{Errors, path};
use proc_macro2::TokenStream;
use quote::quote;

use crate::{
    attr::{ActionsInput, Mounted, RoutesInput},
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
        Ok(input) => match input.controllers.iter().position(|mounted| !mounted.cfgs.is_empty()) {
            Some(at) => one_of_each_cfg(&input, at),
            None => expand::routes(&input),
        },
        Err(error) => {
            let error = error.to_compile_error();
            quote!({ #error ::catamaran::Table { routes: &[], controllers: &[] } })
        }
    }
}

/// A `#[cfg]` makes two tables, one with its controller and one without, of which the compiler takes one.
fn one_of_each_cfg(input: &RoutesInput, at: usize) -> TokenStream {
    let entry = |Mounted { cfgs, controller, policy }: &Mounted, conditional: bool| {
        let cfgs = conditional.then_some(cfgs).into_iter().flatten();
        let policy = policy.as_ref().map(|policy| quote!(=> #policy));
        quote!(#(#cfgs)* #controller #policy)
    };
    let entries = || input.controllers.iter().enumerate();
    let with = entries().map(|(nth, mounted)| entry(mounted, nth != at));
    let without = entries().filter(|(nth, _)| *nth != at).map(|(_, mounted)| entry(mounted, true));
    let conditions = input.controllers[at].cfgs.iter().filter_map(|cfg| cfg.meta.require_list().ok());
    let conditions: Vec<&TokenStream> = conditions.map(|list| &list.tokens).collect();
    quote! {{
        #[cfg(all(#(#conditions),*))]
        { ::catamaran::routes![#(#with),*] }
        #[cfg(not(all(#(#conditions),*)))]
        { ::catamaran::routes![#(#without),*] }
    }}
}
