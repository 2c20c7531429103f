//! What can be wrong with an action: one rule, one function, one sentence.

use catamaran_macros_core::{
    Errors,
    tokens::{first_span, last_segment},
};
use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{FnArg, Ident, PathSegment, Safety, Signature, Type};

use crate::model::{Action, Argument, Source};

/// As many arguments as axum's handlers take.
const MOST_ARGUMENTS: usize = 16;

const PRIMITIVES: &[&str] = &[
    "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "str", "u8", "u16", "u32", "u64", "u128",
    "usize",
];

/// Names that function bodies begin their paths with.
const CRATES: &[&str] = &["alloc", "axum", "catamaran", "core", "http", "serde", "serde_json", "std", "tokio", "tower"];

/// Types with one value, so `Path` of them reads one parameter.
const SINGLE: &[&str] = &["String", "Uuid"];

const BODIES: &[&str] = &["Json", "Form", "Multipart", "Bytes", "String"];

/// Checks everything that the function alone can tell.
pub(crate) fn action(action: &Action, sig: &Signature, errors: &mut Errors) {
    is_async(sig, errors);
    is_not_generic(sig, errors);
    is_a_plain_function(sig, errors);
    takes_no_self(sig, errors);
    takes_at_most_sixteen(action, errors);
    takes_one_context(action, errors);
    types_have_names(action, errors);
    arguments_are_owned(sig, errors);
    context_is_not_the_state(action, errors);
    path_reads_every_parameter(action, errors);
    get_has_no_body(action, errors);
    parameters_and_arguments_meet(action, errors);
}

/// An action waits for its arguments, so it is asynchronous.
fn is_async(sig: &Signature, errors: &mut Errors) {
    if sig.asyncness.is_none() {
        errors.at(sig.fn_token.span, format!("action `{}` must be `async`", sig.ident));
    }
}

/// A route has one answer, so its action has no type parameters.
fn is_not_generic(sig: &Signature, errors: &mut Errors) {
    if let Some(parameter) = sig.generics.params.first() {
        let message = format!("action `{}` cannot be generic: one route answers with one type", sig.ident);
        errors.at(first_span(parameter), message);
    }
}

/// An action is called by safe code that is not `const`.
fn is_a_plain_function(sig: &Signature, errors: &mut Errors) {
    let constant = sig.constness.map(|token| token.span);
    let unsafety = match sig.safety {
        Safety::Unsafe(token) => Some(token.span),
        _ => None,
    };
    let abi = sig.abi.as_ref().map(|abi| abi.extern_token.span);
    if let Some(span) = constant.or(unsafety).or(abi) {
        errors.at(span, format!("action `{}` must be a plain `async fn`", sig.ident));
    }
}

/// Actions are functions of a module, not methods.
fn takes_no_self(sig: &Signature, errors: &mut Errors) {
    if let Some(FnArg::Receiver(receiver)) = sig.inputs.first() {
        let message =
            format!("action `{}` cannot take `self`; put shared data in the app state and take `State<T>`", sig.ident);
        errors.at(first_span(receiver), message);
    }
}

/// The runtime has a `callN` for up to sixteen arguments.
fn takes_at_most_sixteen(action: &Action, errors: &mut Errors) {
    if let Some(argument) = action.arguments.get(MOST_ARGUMENTS) {
        let (name, count) = (&action.companion.name, action.arguments.len());
        let message = format!(
            "action `{name}` takes {count} arguments, and {MOST_ARGUMENTS} is the most; \
                               put some of them into one struct that implements `FromRequestParts`"
        );
        errors.at(argument.span(), message);
    }
}

/// The context declares the transports, so there is one.
fn takes_one_context(action: &Action, errors: &mut Errors) {
    if let Some(second) = action.arguments.iter().filter(|argument| argument.is(&["Ctx"])).nth(1) {
        errors.at(first_span(&second.ty), "an action takes one context");
    }
}

/// `impl Trait` in argument position is a type parameter.
fn types_have_names(action: &Action, errors: &mut Errors) {
    for argument in &action.arguments {
        if let Type::ImplTrait(ty) = &argument.ty {
            errors.at(ty.impl_token.span, "an argument of an action needs a type with a name, not `impl Trait`");
        }
    }
}

/// An argument is made for the request, so there is nothing to borrow it from.
fn arguments_are_owned(sig: &Signature, errors: &mut Errors) {
    for input in &sig.inputs {
        let FnArg::Typed(argument) = input else { continue };
        let Some(span) = borrow(argument.ty.to_token_stream()) else { continue };
        let ty = readable(&argument.ty).replace("&mut ", "").replace("& mut ", "").replace("& ", "").replace('&', "");
        let ty = if ty == "str" { "String".to_owned() } else { ty };
        let name = readable_tokens(&argument.pat.to_token_stream());
        errors.at(span, format!("an action owns its arguments; write `{name}: {ty}`"));
    }
}

/// Where a type borrows for less than `'static`.
fn borrow(ty: TokenStream) -> Option<Span> {
    let mut tokens = ty.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(and) if and.as_char() == '&' => match tokens.peek() {
                Some(TokenTree::Punct(tick)) if tick.as_char() == '\'' => {}
                _ => return Some(and.span()),
            },
            TokenTree::Group(group) => {
                if let Some(span) = borrow(group.stream()) {
                    return Some(span);
                }
            }
            _ => {}
        }
    }
    None
}

/// `Ctx<AppState>`: the context's parameter is a transport.
fn context_is_not_the_state(action: &Action, errors: &mut Errors) {
    for argument in action.arguments.iter().filter(|argument| argument.is(&["Ctx"])) {
        let Some(ty) = argument.inner() else { continue };
        let named = last_segment(ty).map(|segment| segment.ident.to_string()).unwrap_or_default();
        let state = readable(ty) == readable(&action.companion.state.ty());
        if state || named.ends_with("State") || ["App", "Db", "Pool"].contains(&named.as_str()) {
            let message =
                format!("a context does not hold the state; write `ctx: Ctx, State(state): State<{}>`", readable(ty));
            errors.at(first_span(ty), message);
        }
    }
}

/// `Path<T>` reads all parameters at once.
fn path_reads_every_parameter(action: &Action, errors: &mut Errors) {
    for argument in action.arguments.iter().filter(|argument| argument.is(&["Path"])) {
        let reads = match argument.inner() {
            Some(Type::Tuple(tuple)) => tuple.elems.len(),
            Some(ty) if is_single(ty) => 1,
            _ => continue,
        };
        let count = action.params.len();
        if reads != count {
            let s = if count == 1 { "" } else { "s" };
            let message = format!("{:?} has {count} parameter{s}, this reads {reads}", action.path.value());
            errors.at(first_span(&argument.ty), message);
        }
    }
}

/// A GET request carries its data in the query.
fn get_has_no_body(action: &Action, errors: &mut Errors) {
    if action.method.word != "get" {
        return;
    }
    for argument in action.arguments.iter().filter(|argument| argument.source == Source::Request) {
        // A `String` that nearly has a parameter's name is a misspelt parameter.
        let optional = argument.is(&["Option"]) && argument.inner().and_then(last_segment).is_some_and(is_body);
        if optional {
            let inner = argument.inner().and_then(last_segment).map(|segment| segment.ident.to_string());
            let message = format!(
                "a GET request has no body to read `{}` from; take `Query<T>`, or use `post`",
                inner.unwrap_or_default()
            );
            errors.at(first_span(&argument.ty), message);
        }
        if argument.is(BODIES) && meant(action, argument).is_none() {
            let ty = last_segment(&argument.ty).map(|segment| segment.ident.to_string()).unwrap_or_default();
            let message = format!("a GET request has no body to read `{ty}` from; take `Query<T>`, or use `post`");
            errors.at(first_span(&argument.ty), message);
        }
    }
}

fn is_body(segment: &PathSegment) -> bool {
    BODIES.iter().any(|body| segment.ident == body)
}

/// Each parameter is read by the argument of its name, and an argument of a primitive type is a parameter.
fn parameters_and_arguments_meet(action: &Action, errors: &mut Errors) {
    if action.arguments.iter().any(|argument| argument.is(&["Path", "Params"])) {
        return;
    }
    let mut misspelt = Vec::new();
    for argument in action.arguments.iter().filter(|argument| argument.source == Source::Request) {
        let Some(name) = &argument.name else { continue };
        let primitive = argument.is(PRIMITIVES) && last_segment(&argument.ty).is_some_and(|it| it.arguments.is_none());
        match meant(action, argument) {
            Some(param) if argument.plain_name().is_some_and(|name| name.trim_start_matches('_') == param) => {
                let message = format!(
                    "`{name}` does not read `{{{param}}}`: an argument has exactly the parameter's name; \
                                       write `{param}`"
                );
                errors.at(name.span(), message);
                misspelt.push(param);
            }
            Some(param) => {
                let path = action.path.value();
                errors.at(name.span(), format!("`{name}` is not a parameter of {path:?}; did you mean `{param}`?"));
                misspelt.push(param);
            }
            None if primitive => {
                let path = action.path.value();
                let message = format!(
                    "`{name}` is not a parameter of {path:?}; add `{{{name}}}` to the path, or read it from the query with \
                     `Query<T>`"
                );
                errors.at(name.span(), message);
            }
            None => {}
        }
    }
    for param in unread(action).filter(|param| !misspelt.contains(param)) {
        let name = &action.companion.name;
        let message = format!(
            "action `{name}` has no argument named `{param}` for `{{{param}}}`; \
             add e.g. `{param}: u64`, or take `Path<..>`"
        );
        errors.at(action.written.span(), message);
    }
}

/// The parameters that no argument has the name of.
fn unread(action: &Action) -> impl Iterator<Item = &str> {
    let read = |at| action.arguments.iter().any(|argument| argument.source == Source::Path(at));
    action.params.iter().enumerate().filter(move |(at, _)| !read(*at)).map(|(_, param)| param.as_str())
}

/// The unread parameter whose name an argument nearly has.
fn meant<'a>(action: &'a Action, argument: &Argument) -> Option<&'a str> {
    let name = argument.plain_name()?;
    unread(action).find(|param| distance(name.trim_start_matches('_'), param) <= (param.len() / 3).max(1))
}

/// The edit distance of two names.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.chars().enumerate() {
            let change = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.chars().count()]
}

fn is_single(ty: &Type) -> bool {
    last_segment(ty).is_some_and(|segment| {
        segment.arguments.is_none() && PRIMITIVES.iter().chain(SINGLE).any(|name| segment.ident == name)
    })
}

/// The companion has the action's name, so that name must not be a type's or a crate's.
pub(crate) fn name_is_no_type(name: &Ident, errors: &mut Errors) -> bool {
    let text = name.to_string();
    let what = match () {
        () if PRIMITIVES.contains(&text.as_str()) => "type",
        () if CRATES.contains(&text.as_str()) => "crate",
        () => return true,
    };
    errors.at(
        name.span(),
        format!("an action's name is also a type, and `{name}` would hide the {what} `{name}`; rename it"),
    );
    false
}

/// A controller infers its state from its `State<T>`s, so they have one `T`.
pub(crate) fn one_state<'a>(
    states: impl Iterator<Item = (&'a Ident, &'a Type)>,
    prefix: &str,
    errors: &mut Errors,
) -> Vec<Ident> {
    let mut first: Option<(&Ident, String)> = None;
    let mut rejected = Vec::new();
    for (action, state) in states {
        let text = readable(state);
        match &first {
            None => first = Some((action, text)),
            Some((by, other)) if last_name(other) != last_name(&text) => {
                let second = if *by == action { String::new() } else { format!("`{action}` takes ") };
                let message = format!(
                    "`{by}` takes `State<{other}>` and {second}`State<{text}>`: \
                     name the state that holds both with `#[controller({prefix:?}, state = AppState)]`"
                );
                errors.at(first_span(state), message);
                rejected.push(action.clone());
            }
            Some(_) => {}
        }
    }
    rejected
}

/// A type without the path before its name, since `Db` and `super::Db` may be one; if they are two, the compiler says so.
fn last_name(ty: &str) -> &str {
    let name = ty.split('<').next().unwrap_or(ty);
    name.rfind("::").map_or(ty, |at| &ty[at + 2..])
}

/// A type as one would write it.
fn readable(ty: &Type) -> String {
    readable_tokens(&ty.to_token_stream())
}

fn readable_tokens(tokens: &TokenStream) -> String {
    let text = tokens.to_string().replace(" (", "(").replace("( ", "(").replace(" )", ")");
    text.replace(" :: ", "::").replace(" < ", "<").replace(" >", ">").replace(" ,", ",")
}
