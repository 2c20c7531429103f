//! The code that stands beside a model: tokens only, no decisions about what is right.

use catamaran_macros_core::{
    path,
    tokens::{first_span, line},
};
use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Expr, Visibility};

use crate::{
    inputs,
    model::{Association, Column, Resource, upper_camel_case},
};

pub(crate) fn resource(resource: &Resource) -> TokenStream {
    let (create, patch) = (inputs::create(resource), inputs::patch(resource));
    let (entity, viewed) = (entity(resource), viewed(resource));
    let controller = controller(resource);
    quote!(#create #patch #entity #viewed #controller)
}

/// What the engine knows of the entity.
fn entity(resource: &Resource) -> TokenStream {
    let Resource { policy, identity, except, .. } = resource;
    let except = (!except.is_empty()).then(|| quote!(meta.except(&[#(#except),*]);));
    let fields = resource.columns.iter().map(field);
    let associations = resource.associations.iter().map(association);
    let idents: Vec<_> = resource.columns.iter().map(|column| &column.ident).collect();
    let on_create = presets(resource, "on_create", |column| column.said.create.as_ref());
    let on_update = presets(resource, "on_update", |column| column.said.update.as_ref());
    quote! {
        impl ::catamaran_resources::Resource for Entity {
            type Policy = #policy;
            type Create = Create;
            type Patch = Patch;

            fn meta() -> &'static ::catamaran_resources::Meta {
                static META: ::std::sync::OnceLock<::catamaran_resources::Meta> = ::std::sync::OnceLock::new();
                META.get_or_init(|| {
                    let mut meta = ::catamaran_resources::Meta::new::<Self>(#identity);
                    #(#fields)*
                    #(#associations)*
                    #except
                    meta
                })
            }

            fn to_json(model: &Model) -> ::std::vec::Vec<::catamaran_resources::__private::Json> {
                [#(::catamaran_resources::__private::json(&model.#idents)),*].into()
            }

            fn from_json(
                columns: &mut ::catamaran_resources::__private::Columns,
            ) -> ::core::result::Result<Model, ::catamaran_resources::__private::Unreadable> {
                ::core::result::Result::Ok(Model { #(#idents: columns.next()?),* })
            }

            #on_create
            #on_update
        }
    }
}

/// What the server says of a record, as its viewer writes it.
fn presets(resource: &Resource, name: &str, said: fn(&Column) -> Option<&Expr>) -> Option<TokenStream> {
    let preset = resource.columns.iter().enumerate().filter_map(|(at, column)| Some((at, &column.ty, said(column)?)));
    let values: Vec<_> = preset
        .map(|(at, ty, said)| {
            let at = Literal::usize_unsuffixed(at);
            // What the expression names is the program's.
            let value = Ident::new("value", Span::mixed_site());
            quote!({
                let #value: #ty = #said;
                (#at, #value.into())
            })
        })
        .collect();
    let name = format_ident!("{name}");
    (!values.is_empty()).then(|| {
        quote! {
            #[allow(unused_variables)]
            fn #name(
                viewer: &<Self::Policy as ::catamaran_resources::Policy<Self>>::Viewer,
            ) -> ::catamaran_resources::__private::Values {
                [#(#values),*].into()
            }
        }
    })
}

fn field(column: &Column) -> TokenStream {
    let Column { ty, variant, name, .. } = column;
    let flags = [
        ("primary_key", column.primary_key),
        ("generated", column.generated),
        ("nullable", column.nullable),
        ("unique", column.unique),
        ("hidden", column.said.hidden.is_some()),
        ("no_filter", column.said.no_filter.is_some()),
        ("create", column.in_create()),
        ("update", column.in_patch()),
    ];
    let flags = flags.iter().filter(|(_, holds)| *holds).map(|(flag, _)| format_ident!("{flag}"));
    let new = quote_spanned!(first_span(ty)=> meta.add_field::<Self, #ty>);
    quote!(#new(#name, Column::#variant)#(.#flags())*;)
}

fn association(association: &Association) -> TokenStream {
    let Association { name, many, target, relation, .. } = association;
    let to = &relation.to;
    let via = match &relation.via {
        Some(via) => quote!(::core::option::Option::Some(|| #via)),
        None => quote!(::core::option::Option::None),
    };
    let said = &association.said;
    let access = [("hidden", said.hidden), ("read_only", said.read_only), ("writable", said.writable)];
    let access = access.into_iter().find_map(|(access, said)| said.map(|_| format_ident!("{access}"))).into_iter();
    quote!(meta.add_association::<#target>(#name, #many, || #to, #via)#(.#access())*;)
}

/// Who asks, for the policies of the entity and of those that its associations lead to.
fn viewed(resource: &Resource) -> TokenStream {
    let own = std::iter::once(quote!(Entity));
    let targets = resource.associations.iter().map(|association| {
        let target = &association.target;
        quote!(#target)
    });
    let entities: Vec<TokenStream> = own.chain(targets).collect();
    quote! {
        impl<S> ::catamaran_resources::__private::Viewed<S> for Entity
        where
            S: Send + Sync + 'static,
            #(#entities: ::catamaran_resources::__private::Told<S>,)*
        {
            const VIEWERS: &'static [::catamaran_resources::__private::Tell<S>] =
                &[#(<#entities as ::catamaran_resources::__private::Told<S>>::TELL),*];
        }
    }
}

/// What a wrong resource leaves behind, so that its table resolves.
pub(crate) fn stub(vis: &Visibility) -> TokenStream {
    quote! {
        #vis const ROUTES: &[::catamaran_resources::__private::Route] = &[];
        #[allow(non_snake_case)]
        #vis fn CONTROLLER<S>() -> ::catamaran_resources::__private::Controller<S> {
            ::catamaran_resources::__private::Controller { routes: ROUTES, actions: &[] }
        }
    }
}

/// The routes of a resource, and how to run them.
fn controller(resource: &Resource) -> TokenStream {
    let routes = routes(resource);
    let vis = &resource.vis;
    let table = routes.iter().map(|(route, _)| route);
    let actions = routes.iter().enumerate().map(|(at, (_, verb))| {
        let at = Literal::usize_unsuffixed(at);
        quote!(Action { route: ROUTES[#at], call: |call| ask::<Entity, S>(call, Verb::#verb) })
    });
    quote! {
        /// The routes of this resource.
        #vis const ROUTES: &[::catamaran_resources::__private::Route] = &[#(#table),*];

        /// This resource, as `routes!` takes it.
        #[allow(non_snake_case)]
        #vis fn CONTROLLER<S>() -> ::catamaran_resources::__private::Controller<S>
        where
            S: ::catamaran_resources::__private::HasResources + Send + Sync + 'static,
            Entity: ::catamaran_resources::__private::Viewed<S>,
        {
            use ::catamaran_resources::__private::{Action, Verb, ask};
            ::catamaran_resources::__private::check::<Entity>();
            ::catamaran_resources::__private::Controller { routes: ROUTES, actions: const { &[#(#actions),*] } }
        }
    }
}

/// Each route with what it asks for.
fn routes(resource: &Resource) -> Vec<(TokenStream, TokenStream)> {
    let path = resource.path.value();
    let identity = resource.identity.value();
    let (all, one) = (if path.is_empty() { "/".to_owned() } else { path.clone() }, format!("{path}/{{id}}"));
    let line = line(&resource.name);
    let mut routes = Vec::new();
    let mut add = |verb: &str, method: &str, path: &str, name: String, doc: String, at: Option<usize>| {
        if !resource.does(verb) {
            return;
        }
        let path = path::encoded(path);
        let params = ["id", "fk"].into_iter().filter(|name| path.contains(&format!("{{{name}}}")));
        let (method, variant) = (format_ident!("{method}"), format_ident!("{}", upper_camel_case(verb)));
        let route = quote! {
            ::catamaran_resources::__private::Route {
                method: ::catamaran_resources::__private::Method::#method,
                path: #path,
                transports: ::catamaran_resources::__private::Transports::Both,
                action: #name,
                module: ::core::module_path!(),
                file: ::core::file!(),
                line: #line,
                doc: #doc,
                params: &[#(#params),*],
            }
        };
        let at = at.map(|at| {
            let at = Literal::usize_unsuffixed(at);
            quote!((#at))
        });
        routes.push((route, quote!(#variant #at)));
    };
    add("find", "Get", &all, "find".into(), format!("Lists records of `{identity}`."), None);
    add("find_one", "Get", &one, "find_one".into(), format!("Shows a record of `{identity}`."), None);
    add("create", "Post", &all, "create".into(), format!("Adds a record to `{identity}`."), None);
    add("update", "Patch", &one, "update".into(), format!("Changes a record of `{identity}`."), None);
    add(
        "update",
        "Put",
        &one,
        "update".into(),
        format!("Changes a record of `{identity}`; deprecated, use PATCH."),
        None,
    );
    add("destroy", "Delete", &one, "destroy".into(), format!("Removes a record of `{identity}`."), None);
    let doc = format!("Removes the record of `{identity}` that the query or the body names.");
    add("destroy", "Delete", &all, "destroy".into(), doc, None);
    // What nobody may ask for is no route; what leads to what stays in its place.
    let read = |(_, association): &(usize, &Association)| resource.reads(association);
    for (at, association) in resource.associations.iter().enumerate().filter(read) {
        let Association { name, ident, .. } = association;
        let (list, member) = (format!("{one}/{name}"), format!("{one}/{name}/{{fk}}"));
        let doc = format!("What `{name}` of a record of `{identity}` leads to.");
        add("populate", "Get", &list, format!("populate_{ident}"), doc, Some(at));
        if association.many && association.said.read_only.is_none() {
            let doc = format!("Adds a record to `{name}` of a record of `{identity}`.");
            add("add", "Put", &member, format!("add_to_{ident}"), doc, Some(at));
            let doc = format!("Removes a record from `{name}` of a record of `{identity}`.");
            add("remove", "Delete", &member, format!("remove_from_{ident}"), doc, Some(at));
            let doc = format!("Replaces what `{name}` of a record of `{identity}` leads to.");
            add("replace", "Put", &list, format!("replace_{ident}"), doc, Some(at));
        }
    }
    routes
}
