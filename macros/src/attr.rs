//! The grammar: what stands in the parentheses of each macro.

use proc_macro2::{Span, TokenStream};
use syn::{
    Attribute, Ident, LitStr, Path, Token, Type, parenthesized,
    parse::{Parse, ParseStream},
};

/// `get "/hello"`, after `in("/chat", AppState)` when a controller passed that on.
pub(crate) struct ActionAttr {
    pub(crate) within: Option<Within>,
    pub(crate) route: syn::Result<RouteAttr>,
}

/// What a controller passes on to an action.
pub(crate) enum Within {
    /// `in("/chat", AppState)`
    Controller { prefix: LitStr, state: Box<Type> },
    /// `in(rejected)`: the controller has reported what is wrong.
    Rejected,
}

/// `get "/hello"`
pub(crate) struct RouteAttr {
    pub(crate) method: Method,
    pub(crate) path: LitStr,
}

/// A method with the place where it was written.
pub(crate) struct Method {
    pub(crate) word: &'static str,
    pub(crate) variant: Ident,
}

/// `"/chat", state = AppState`
pub(crate) struct ControllerAttr {
    pub(crate) prefix: LitStr,
    pub(crate) state: Option<Type>,
}

/// `"/users", state = AppState => list, show`
pub(crate) struct ActionsInput {
    pub(crate) controller: ControllerAttr,
    pub(crate) actions: Vec<Listed>,
}

/// An action in the list of `actions!`.
pub(crate) struct Listed {
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) action: Path,
}

/// `chat, admin => RequireAdmin`
pub(crate) struct RoutesInput {
    pub(crate) controllers: Vec<Mounted>,
}

/// A controller in the list of `routes!`.
pub(crate) struct Mounted {
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) controller: Path,
    pub(crate) policy: Option<Type>,
}

const METHODS: &[(&str, &str)] =
    &[("get", "Get"), ("post", "Post"), ("put", "Put"), ("patch", "Patch"), ("delete", "Delete")];

impl Parse for ActionAttr {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let within = if input.peek(Token![in]) { Some(input.parse()?) } else { None };
        let route = input.parse();
        // The rest of a wrong attribute is no mistake of its own.
        input.parse::<TokenStream>()?;
        Ok(Self { within, route })
    }
}

impl Parse for Within {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        input.parse::<Token![in]>()?;
        let inner;
        parenthesized!(inner in input);
        if inner.peek(Ident) {
            inner.parse::<Ident>()?;
            return Ok(Self::Rejected);
        }
        let prefix = inner.parse()?;
        inner.parse::<Token![,]>()?;
        Ok(Self::Controller { prefix, state: inner.parse()? })
    }
}

impl Parse for RouteAttr {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.is_empty() {
            let message = "an action needs a method and a path, e.g. `#[action(get \"/hello\")]`";
            return Err(syn::Error::new(Span::call_site(), message));
        }
        let method: Method = input.parse()?;
        let path = input.parse().map_err(|error: syn::Error| {
            let word = method.word;
            let message = format!("expected the path as a string after `{word}`, e.g. `#[action({word} \"/hello\")]`");
            syn::Error::new(error.span(), message)
        })?;
        if !input.is_empty() {
            let comma: Option<Token![,]> = input.parse()?;
            if comma.is_some() && input.is_empty() {
                return Ok(Self { method, path });
            }
            let extra: proc_macro2::TokenTree = input.parse()?;
            if extra.to_string() == "policy" {
                let message = "a policy stands where the action is mounted: `routes![hello => RequireLogin]`";
                return Err(syn::Error::new(extra.span(), message));
            }
            if extra.to_string() == "state" {
                let message = "the state of an action is the `T` of its `State<T>`; a state for all actions of a controller \
                               stands in `#[controller(\"/chat\", state = AppState)]`";
                return Err(syn::Error::new(extra.span(), message));
            }
            let message = format!(
                "unexpected `{extra}`: an action is a method and a path; the type of its context decides the transports"
            );
            return Err(syn::Error::new(extra.span(), message));
        }
        Ok(Self { method, path })
    }
}

impl Parse for Method {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let word: Ident = input.parse().map_err(|error| {
            syn::Error::new(error.span(), "expected a method before the path, e.g. `#[action(get \"/hello\")]`")
        })?;
        let text = word.to_string();
        match METHODS.iter().find(|(method, _)| text.eq_ignore_ascii_case(method)) {
            Some((method, variant)) if text == *method => {
                Ok(Self { word: method, variant: Ident::new(variant, word.span()) })
            }
            near => {
                let help = near.map_or(String::new(), |(method, _)| format!("; write it in lower case: `{method}`"));
                let message = format!("`{word}` is not a method: expected get, post, put, patch or delete{help}");
                Err(syn::Error::new(word.span(), message))
            }
        }
    }
}

impl Method {
    /// The method as HTTP writes it.
    pub(crate) fn upper(&self) -> String {
        self.word.to_uppercase()
    }
}

impl Parse for ControllerAttr {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let state = "expected `state = Type`; a controller has no other option";
        let controller = Self::parse_before(input, "#[controller(\"/chat\")]", state)?;
        if !input.is_empty() {
            return Err(
                input.error("expected nothing after the state, e.g. `#[controller(\"/chat\", state = AppState)]`")
            );
        }
        Ok(controller)
    }
}

impl ControllerAttr {
    /// Reads the prefix and the state, and leaves what follows.
    fn parse_before(input: ParseStream<'_>, example: &str, expected: &str) -> syn::Result<Self> {
        let prefix = input.parse().map_err(|error: syn::Error| {
            let message = format!("expected the prefix of the paths as a string, e.g. `{example}`");
            syn::Error::new(error.span(), message)
        })?;
        let mut state = None;
        if input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            let word: Ident = input.parse().map_err(|error| syn::Error::new(error.span(), expected))?;
            if word == "policy" {
                let message = "a policy stands where the controller is mounted: `routes![chat => RequireLogin]`";
                return Err(syn::Error::new(word.span(), message));
            }
            if word != "state" {
                return Err(syn::Error::new(word.span(), expected));
            }
            input.parse::<Token![=]>().map_err(|error| syn::Error::new(error.span(), expected))?;
            state = Some(input.parse().map_err(|error: syn::Error| syn::Error::new(error.span(), expected))?);
            input.parse::<Option<Token![,]>>()?;
        }
        Ok(Self { prefix, state })
    }
}

impl Parse for ActionsInput {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let example = "actions! { \"/users\" => list, show }";
        let state = "expected `state = Type`, or `=>` and the actions, e.g. `actions! { \"/users\" => list, show }`";
        let controller = ControllerAttr::parse_before(input, example, state)?;
        input.parse::<Token![=>]>().map_err(|error| {
            syn::Error::new(error.span(), format!("expected `=>` and the actions, e.g. `{example}`"))
        })?;
        let actions = list(input, &format!("expected a list of actions, e.g. `{example}`"))?;
        Ok(Self { controller, actions })
    }
}

impl Parse for Listed {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let (cfgs, action) = (input.call(Attribute::parse_outer)?, input.call(Path::parse_mod_style)?);
        if action.is_ident("state") && input.peek(Token![=]) {
            let message =
                "the state stands before the actions: `actions! { \"/users\", state = AppState => list, show }`";
            return Err(syn::Error::new_spanned(action, message));
        }
        Ok(Self { cfgs, action })
    }
}

impl Parse for RoutesInput {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self { controllers: list(input, LIST)? })
    }
}

const LIST: &str = "expected a controller or an action, e.g. `routes![hello, chat, admin => RequireAdmin]`";

/// Items with commas between; an error of another token says what `expected` does.
fn list<T: Parse>(input: ParseStream<'_>, expected: &str) -> syn::Result<Vec<T>> {
    let mut items = Vec::new();
    while !input.is_empty() {
        let start = input.span();
        items.push(input.parse().map_err(|error: syn::Error| match error.to_string() {
            // syn's own words do not say what to write.
            bare if bare.starts_with("expected identifier") => syn::Error::new(start, expected),
            _ => error,
        })?);
        if input.is_empty() {
            break;
        }
        input
            .parse::<Token![,]>()
            .map_err(|error| syn::Error::new(error.span(), format!("expected `,`; {expected}")))?;
    }
    Ok(items)
}

impl Parse for Mounted {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let cfgs = input.call(Attribute::parse_outer)?;
        if let Some(other) = cfgs.iter().find(|attr| !attr.path().is_ident("cfg")) {
            return Err(syn::Error::new_spanned(other.path(), "a list of routes takes no attribute but `#[cfg(..)]`"));
        }
        let controller = input.call(Path::parse_mod_style).map_err(|error| syn::Error::new(error.span(), LIST))?;
        let policy = match input.parse::<Option<Token![=>]>>()? {
            Some(_) => Some(input.parse()?),
            None => None,
        };
        Ok(Self { cfgs, controller, policy })
    }
}
