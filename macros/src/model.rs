//! An action as the macros see it; every part keeps the place where it was written.

use catamaran_macros_core::tokens::{first_span, last_segment, type_argument};
use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{
    Attribute, Expr, ExprLit, FnArg, Ident, ItemFn, Lit, LitStr, Meta, Pat, ReturnType, Signature, Type, Visibility,
    ext::IdentExt, parse_quote,
};

use crate::attr::Method;

/// A function and the route it answers.
pub(crate) struct Action {
    pub(crate) method: Method,
    /// The path as it was written.
    pub(crate) written: LitStr,
    /// The path with the controller's prefix.
    pub(crate) path: LitStr,
    /// The names of the parameters in `path`.
    pub(crate) params: Vec<String>,
    pub(crate) companion: Companion,
    pub(crate) doc: String,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) answer: TokenStream,
}

/// The type beside the function, which carries its constants.
pub(crate) struct Companion {
    pub(crate) name: Ident,
    pub(crate) vis: Visibility,
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) state: State,
}

/// The state that an action runs on.
pub(crate) enum State {
    /// What the action's controller says, or infers from all its actions.
    Controller(Type),
    /// The only `State<T>` of an action that stands alone, or `NoState`.
    Own(Type),
    /// Whatever state the application has: an action that stands alone has an argument of a type that only the
    /// application knows, and it may read any state.
    Any,
}

impl State {
    /// The state's type where one is needed.
    pub(crate) fn ty(&self) -> Type {
        match self {
            Self::Controller(ty) | Self::Own(ty) => ty.clone(),
            Self::Any => no_state(),
        }
    }
}

/// The state of actions that ask for none.
pub(crate) fn no_state() -> Type {
    parse_quote!(::catamaran::NoState)
}

/// One argument of an action.
pub(crate) struct Argument {
    /// The name, when the pattern is nothing but a name.
    pub(crate) name: Option<Ident>,
    pub(crate) ty: Type,
    pub(crate) source: Source,
}

/// Arguments of these types are no context, and they read no state but the one they name.
const EXTRACTORS: &[&str] = &[
    "Bytes",
    "ConnectInfo",
    "Extension",
    "Form",
    "HeaderMap",
    "Host",
    "Json",
    "MatchedPath",
    "Method",
    "Multipart",
    "OriginalUri",
    "Params",
    "Path",
    "Query",
    "RawForm",
    "RawPathParams",
    "RawQuery",
    "Request",
    "State",
    "String",
    "Uri",
    "Version",
];

/// Where an argument comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The parameter of the route at this position.
    Path(usize),
    /// An extractor.
    Request,
}

impl Companion {
    pub(crate) fn new(function: &ItemFn, state: State) -> Self {
        Self { name: function.sig.ident.clone(), vis: function.vis.clone(), cfgs: cfgs(&function.attrs), state }
    }
}

impl Argument {
    /// The name without a leading `r#`.
    pub(crate) fn plain_name(&self) -> Option<String> {
        self.name.as_ref().map(|name| name.unraw().to_string())
    }

    pub(crate) fn is(&self, names: &[&str]) -> bool {
        last_segment(&self.ty).is_some_and(|segment| names.iter().any(|name| segment.ident == name))
    }

    /// Whether nothing but the compiler knows what this argument is: a context perhaps.
    pub(crate) fn is_unknown(&self) -> bool {
        self.source == Source::Request && !self.is(EXTRACTORS)
    }

    /// The `T` of `Name<T>`.
    pub(crate) fn inner(&self) -> Option<&Type> {
        type_argument(last_segment(&self.ty)?)
    }

    /// Where an error about the whole argument belongs.
    pub(crate) fn span(&self) -> Span {
        match &self.name {
            Some(name) => name.span(),
            None => first_span(&self.ty),
        }
    }
}

/// The arguments of a function; those named like a parameter are read from the path, unless a `Path<..>` reads it.
pub(crate) fn arguments(sig: &Signature, params: &[String]) -> Vec<Argument> {
    let typed = sig.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(argument) => Some(argument),
        FnArg::Receiver(_) => None,
    });
    let mut arguments: Vec<Argument> = typed
        .map(|argument| {
            let name = match &*argument.pat {
                Pat::Ident(pat) => Some(pat.ident.clone()),
                _ => None,
            };
            Argument { name, ty: (*argument.ty).clone(), source: Source::Request }
        })
        .collect();
    if arguments.iter().any(|argument| argument.is(&["Path"])) {
        return arguments;
    }
    for argument in &mut arguments {
        let name = argument.plain_name();
        if let Some(at) = params.iter().position(|param| Some(param) == name.as_ref()) {
            argument.source = Source::Path(at);
        }
    }
    arguments
}

/// The `T` of each argument `State<T>`.
pub(crate) fn states(sig: &Signature) -> Vec<Type> {
    let arguments = arguments(sig, &[]);
    arguments.iter().filter(|argument| argument.is(&["State"])).filter_map(|it| it.inner().cloned()).collect()
}

/// The answer's type, or `_` where only the compiler can name it.
pub(crate) fn answer(output: &ReturnType) -> TokenStream {
    match output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, ty) if has_unnamed_part(ty.to_token_stream()) => quote_spanned!(first_span(ty)=> _),
        ReturnType::Type(_, ty) => ty.to_token_stream(),
    }
}

/// Whether a type contains a lifetime or an `impl Trait`, which an expression cannot repeat.
fn has_unnamed_part(ty: TokenStream) -> bool {
    ty.into_iter().any(|token| match token {
        TokenTree::Group(group) => has_unnamed_part(group.stream()),
        TokenTree::Ident(ident) => ident == "impl",
        TokenTree::Punct(punct) => matches!(punct.as_char(), '&' | '\''),
        TokenTree::Literal(_) => false,
    })
}

/// The doc comment, without the space that follows `///`.
pub(crate) fn doc(attrs: &[Attribute]) -> String {
    let lines = attrs.iter().filter_map(|attr| match &attr.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    let lines: Vec<String> = lines.map(|line| line.strip_prefix(' ').unwrap_or(&line).to_owned()).collect();
    lines.join("\n").trim().to_owned()
}

pub(crate) fn cfgs(attrs: &[Attribute]) -> Vec<Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("cfg")).cloned().collect()
}
