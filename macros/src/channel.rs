//! `#[channel]`: a struct whose values are channels.

use catamaran_macros_core::{Errors, tokens::first_span};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{
    Expr, ExprLit, ItemStruct, Lit, LitStr, Member, Token, Type,
    ext::IdentExt,
    parse::{Parse, ParseStream},
    spanned::Spanned,
};

/// `"room:{id}", event = RoomEvent, history = 256, stream = "rooms"`
struct ChannelAttr {
    pattern: LitStr,
    event: Type,
    history: Option<History>,
    stream: Option<LitStr>,
}

/// `history = 256, history_bytes = 65_536, history_seconds = 3600, history_since = subscribe`
struct History {
    events: Expr,
    bytes: Option<Expr>,
    seconds: Option<Expr>,
    since_subscribe: bool,
}

const EXAMPLE: &str = "e.g. `#[channel(\"room:{id}\", event = RoomEvent)]`";

impl Parse for ChannelAttr {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let pattern: LitStr = input.parse().map_err(|error: syn::Error| {
            syn::Error::new(error.span(), format!("expected the name of the channel as a string, {EXAMPLE}"))
        })?;
        let (mut event, mut stream) = (None, None);
        let (mut history, mut bytes, mut seconds, mut since) = (None, None, None, None);
        let mut bounds = Vec::new();
        while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            let word: Ident = input.call(Ident::parse_any)?;
            input
                .parse::<Token![=]>()
                .map_err(|error| syn::Error::new(error.span(), format!("expected `=` after an option, {EXAMPLE}")))?;
            let repeated = match word.to_string().as_str() {
                "event" => event.replace(input.call(event_type)?).is_some(),
                "stream" => stream.replace(input.parse()?).is_some(),
                "history" => history.replace(input.parse()?).is_some(),
                "history_bytes" => bytes.replace(input.parse()?).is_some(),
                "history_seconds" => seconds.replace(input.parse()?).is_some(),
                "history_since" => since.replace(input.call(subscribe)?).is_some(),
                _ => {
                    let message = format!(
                        "`{word}` is not an option: expected event, history, history_bytes, history_seconds, \
                         history_since or stream"
                    );
                    return Err(syn::Error::new(word.span(), message));
                }
            };
            if word.to_string().starts_with("history_") {
                bounds.push(word.clone());
            }
            if repeated {
                return Err(syn::Error::new(word.span(), format!("`{word}` is said twice")));
            }
        }
        if !input.is_empty() {
            return Err(input.error(format!("expected `,` and an option, {EXAMPLE}")));
        }
        let missing = || syn::Error::new(pattern.span(), format!("say what is published to the channel, {EXAMPLE}"));
        let history = match (history, bounds.first()) {
            (None, Some(word)) => {
                let message = format!("`{word}` bounds a history, and the channel has none: add `history = 256`");
                return Err(syn::Error::new(word.span(), message));
            }
            (history, _) => history.map(|events| History { events, bytes, seconds, since_subscribe: since.is_some() }),
        };
        Ok(Self { event: event.ok_or_else(missing)?, pattern, history, stream })
    }
}

/// The type of what is published.
fn event_type(input: ParseStream<'_>) -> syn::Result<Type> {
    input.parse().map_err(|error: syn::Error| {
        syn::Error::new(error.span(), format!("expected the type of the event, without quotes, {EXAMPLE}"))
    })
}

/// The one word that `history_since` takes.
fn subscribe(input: ParseStream<'_>) -> syn::Result<Ident> {
    let message = "expected `subscribe`: `history_since = subscribe` replays to a client only what was published since \
                   it subscribed";
    match input.parse::<Ident>() {
        Ok(word) if word == "subscribe" => Ok(word),
        Ok(word) => Err(syn::Error::new(word.span(), message)),
        Err(error) => Err(syn::Error::new(error.span(), message)),
    }
}

/// A field of the struct, by the name that stands in the pattern.
struct Field {
    name: String,
    member: Member,
    ty: Type,
}

pub(crate) fn channel(attr: TokenStream, item: &TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let Ok(channel) = syn::parse2::<ItemStruct>(item.clone()) else {
        errors.at(
            first_span(item),
            "a channel is a struct: `#[channel(\"lobby\", event = LobbyEvent)] pub struct Lobby;`",
        );
        return quote!(#item #errors);
    };
    let code = match syn::parse2::<ChannelAttr>(attr) {
        Ok(attr) => {
            let fields = fields(&channel);
            has_a_name(&attr.pattern, &mut errors);
            keeps_something(attr.history.as_ref(), &mut errors);
            let used = used(&attr.pattern, &mut errors);
            every_field_of_the_pattern_exists(&channel, &attr.pattern, &used, &fields, &mut errors);
            // A wrong pattern does not tell which fields it leaves out.
            if errors.is_empty() {
                every_field_is_in_the_pattern(&channel, &attr.pattern, &used, &fields, &mut errors);
            }
            a_colon_parts_two_fields(&attr.pattern, &mut errors);
            a_stream_has_no_fields(attr.stream.as_ref(), &mut errors);
            expand(&attr, &channel, &fields)
        }
        Err(error) => {
            errors.add(error);
            TokenStream::new()
        }
    };
    quote!(#item #code #errors)
}

fn fields(channel: &ItemStruct) -> Vec<Field> {
    let fields = channel.fields.iter().zip(channel.fields.members());
    let fields = fields.map(|(field, member)| {
        let name = match &member {
            Member::Named(name) => name.unraw().to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        };
        Field { name, member, ty: field.ty.clone() }
    });
    fields.collect()
}

/// Clients subscribe by the name.
fn has_a_name(pattern: &LitStr, errors: &mut Errors) {
    if pattern.value().trim().is_empty() {
        errors.at(pattern.span(), format!("a channel needs a name, {EXAMPLE}"));
    }
}

/// A history of no events would look like one that recovers what was missed.
fn keeps_something(history: Option<&History>, errors: &mut Errors) {
    let Some(Expr::Lit(ExprLit { lit: Lit::Int(events), .. })) = history.map(|history| &history.events) else { return };
    if events.base10_parse::<u128>().is_ok_and(|events| events == 0) {
        errors.at(events.span(), "a history of no events keeps nothing: write e.g. `history = 256`, or leave it out");
    }
}

/// The names in the braces of a pattern.
fn used(pattern: &LitStr, errors: &mut Errors) -> Vec<String> {
    let text = pattern.value();
    let mut names = Vec::new();
    if text.contains("{{") || text.contains("}}") {
        let single = text.replace("{{", "{").replace("}}", "}");
        errors.at(pattern.span(), format!("a field stands in single braces: write {single:?}"));
        return single
            .split('{')
            .skip(1)
            .filter_map(|part| part.split_once('}'))
            .map(|(name, _)| name.to_owned())
            .collect();
    }
    for part in text.split('{').skip(1) {
        match part.split_once('}') {
            Some(("", _)) => {
                errors.at(pattern.span(), format!("`{{}}` in {text:?} names no field: write e.g. `room:{{id}}`"));
            }
            Some((name, _)) => names.push(name.to_owned()),
            None => errors.at(pattern.span(), format!("a `{{` in {text:?} has no `}}`")),
        }
    }
    if errors.is_empty() && text.matches('}').count() != names.len() {
        errors.at(pattern.span(), format!("a `}}` in {text:?} has no `{{`"));
    }
    names
}

/// A pattern can only name what the struct has.
fn every_field_of_the_pattern_exists(
    channel: &ItemStruct,
    pattern: &LitStr,
    used: &[String],
    fields: &[Field],
    errors: &mut Errors,
) {
    for name in used.iter().filter(|name| !fields.iter().any(|field| field.name == **name)) {
        let list: Vec<String> = fields.iter().map(|field| format!("`{}`", field.name)).collect();
        let has = match list.len() {
            0 => "it has no fields".to_owned(),
            1 => format!("its field is {}: write `{{{}}}`", list[0], fields[0].name),
            _ => format!("its fields are {}", list.join(", ")),
        };
        errors.at(pattern.span(), format!("`{}` has no field `{name}`; {has}", channel.ident));
    }
}

/// Two values that differ in a field are two channels.
fn every_field_is_in_the_pattern(
    channel: &ItemStruct,
    pattern: &LitStr,
    used: &[String],
    fields: &[Field],
    errors: &mut Errors,
) {
    for field in fields.iter().filter(|field| !used.contains(&field.name)) {
        let (name, channel) = (&field.name, &channel.ident);
        let message = format!(
            "field `{name}` is not in the channel name, so two `{channel}`s that differ only in `{name}` \
             would share subscribers; add `{{{name}}}` to {:?}",
            pattern.value()
        );
        let span = match &field.member {
            Member::Named(ident) => ident.span(),
            Member::Unnamed(_) => first_span(&field.ty),
        };
        errors.at(span, message);
    }
}

/// A colon in a value is escaped, so it tells where one value ends and the next begins; so do its like.
fn a_colon_parts_two_fields(pattern: &LitStr, errors: &mut Errors) {
    let parts = |c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && !"-_.%".contains(c);
    let text = pattern.value();
    let between = text.split('{').skip(1).filter_map(|part| part.split_once('}')).map(|(_, between)| between);
    let mut between: Vec<&str> = between.collect();
    between.pop();
    if between.iter().any(|between| !between.contains(parts)) {
        let message = format!("put a `:` between two fields in {text:?}, or two channels may share a name");
        errors.at(pattern.span(), message);
    }
}

/// A stream is shared by all channels of a type, so it is the same for all values.
fn a_stream_has_no_fields(stream: Option<&LitStr>, errors: &mut Errors) {
    if let Some(stream) = stream.filter(|stream| stream.value().contains(['{', '}'])) {
        errors.at(stream.span(), "a stream is shared by all channels of the type, so its name has no fields");
    }
}

fn expand(attr: &ChannelAttr, channel: &ItemStruct, fields: &[Field]) -> TokenStream {
    let ChannelAttr { pattern, event, history, stream } = attr;
    let name = &channel.ident;
    let (impl_generics, ty_generics, bounds) = channel.generics.split_for_impl();
    let history = history.as_ref().map(|History { events, bytes, seconds, since_subscribe }| {
        let events = quote_spanned!(events.span()=> ::catamaran::History::of(#events));
        let bytes = bytes.as_ref().map(|bytes| quote_spanned!(bytes.span()=> .bytes(#bytes)));
        let seconds = seconds.as_ref().map(|seconds| quote_spanned!(seconds.span()=> .seconds(#seconds)));
        let since = since_subscribe.then(|| quote!(.since_subscribe()));
        // A constant of a trait is evaluated where it is used, one that stands alone always.
        quote!(const HISTORY: ::catamaran::History = {
            const DECLARED: ::catamaran::History = #events #bytes #seconds #since;
            DECLARED
        };)
    });
    let stream = stream.as_ref().map(
        |stream| quote!(const STREAM: ::core::option::Option<&'static str> = ::core::option::Option::Some(#stream);),
    );
    let body = body(&pattern.value(), fields);
    quote! {
        impl #impl_generics ::catamaran::Channel for #name #ty_generics #bounds {
            type Event = #event;
            const PATTERN: &'static str = #pattern;
            #history
            #stream
            fn name(&self) -> ::std::string::String { #body }
        }
    }
}

/// Writes the texts of the pattern as they are, and the fields escaped.
fn body(pattern: &str, fields: &[Field]) -> TokenStream {
    let mut parts = pattern.split('{');
    let start = parts.next().unwrap_or_default();
    let name = Ident::new("name", Span::mixed_site());
    let parts = parts.filter_map(|part| part.split_once('}')).map(|(field, text)| {
        let field = fields.iter().find(|one| one.name == field).map(|Field { member, ty, .. }| {
            let value = quote_spanned!(first_span(ty)=> &self.#member);
            quote!(::catamaran::__private::escape(&mut #name, #value);)
        });
        let text = (!text.is_empty()).then(|| quote!(#name.push_str(#text);));
        quote!(#field #text)
    });
    let parts: Vec<TokenStream> = parts.collect();
    match parts.is_empty() {
        true => quote!(<::std::string::String as ::core::convert::From<&str>>::from(#start)),
        false => quote! {
            let mut #name = <::std::string::String as ::core::convert::From<&str>>::from(#start);
            #(#parts)*
            #name
        },
    }
}
