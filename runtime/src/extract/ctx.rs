//! The context of a request, typed by where it may come from.

use std::{fmt, marker::PhantomData};

use axum::{extract::FromRequestParts, http::request::Parts};

use crate::{Error, Hub, Socket, Transports};

/// Marks a context of HTTP requests only, which never have a socket: `Ctx<Http>`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Http;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Http {}
    impl Sealed for super::Socket {}
    impl Sealed for Option<super::Socket> {}
}

/// The parameter of [`Ctx`]: [`Option<Socket>`], [`Socket`] or [`Http`].
///
/// It is the bound of a function that takes the context of any action; nobody else can implement it.
///
/// ```
/// use catamaran::{RawChannel, RawEvent, Via, prelude::*};
///
/// /// Called by actions of all transports.
/// async fn log<T: Via>(ctx: &Ctx<T>, text: &str) -> catamaran::Result {
///     ctx.publish(&RawChannel::new("log"), RawEvent::new("line", text)?).await?;
///     Ok(())
/// }
///
/// #[action(get "/export")]
/// async fn export(ctx: Ctx<Http>) -> catamaran::Result {
///     log(&ctx, "exported").await
/// }
///
/// #[action(get "/watch")]
/// async fn watch(ctx: Ctx<Socket>) -> catamaran::Result {
///     log(&ctx, "watched").await
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no parameter of a context",
    label = "expected `Socket` or `Http`",
    note = "write `ctx: Ctx` for an action over both transports, `ctx: Ctx<Socket>` for sockets only, `ctx: Ctx<Http>` for HTTP only"
)]
pub trait Via: sealed::Sealed + Clone + Send + Sync + 'static {
    #[doc(hidden)]
    const TRANSPORTS: Transports;
    #[doc(hidden)]
    fn of(socket: Option<Socket>) -> Option<Self>;
}

impl Via for Option<Socket> {
    const TRANSPORTS: Transports = Transports::Both;
    fn of(socket: Self) -> Option<Self> {
        Some(socket)
    }
}

impl Via for Http {
    const TRANSPORTS: Transports = Transports::Http;
    fn of(socket: Option<Socket>) -> Option<Self> {
        socket.is_none().then_some(Self)
    }
}

impl Via for Socket {
    const TRANSPORTS: Transports = Transports::Socket;
    fn of(socket: Option<Self>) -> Option<Self> {
        socket
    }
}

/// The context of a request. Its parameter declares the transports that an action answers.
///
/// | Arguments of the action | Transports | `ctx.socket()` |
/// |---|---|---|
/// | `Ctx`, or no context | HTTP and sockets | `Option<&Socket>` |
/// | `Ctx<Socket>` | sockets only | `&Socket` |
/// | `Ctx<Http>` | HTTP only | does not exist |
///
/// `Ctx` is short for `Ctx<Option<Socket>>`. [`Socket`] as an argument makes an action answer sockets only too, beside a
/// `Ctx` or without one; `Option<Socket>` does not.
///
/// A request over the wrong transport does not run the action: over HTTP the answer is 426, over a socket 400.
pub struct Ctx<T: Via = Option<Socket>> {
    via: T,
    hub: Hub,
}

impl<T: Via> Ctx<T> {
    /// Makes the context of a request, or none if the request came over a transport that `T` rules out.
    pub(crate) fn of(socket: Option<Socket>, hub: Hub) -> Option<Self> {
        T::of(socket).map(|via| Self { via, hub })
    }

    /// The channels of the application.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Returns the requesting socket: `&Socket` of a `Ctx<Socket>`, `Option<&Socket>` of a plain `Ctx`.
    pub fn socket(&self) -> <Self as MayHaveSocket>::Borrowed<'_>
    where
        Self: MayHaveSocket,
    {
        self.borrow()
    }
}

impl<T: Via> Clone for Ctx<T> {
    fn clone(&self) -> Self {
        Self { via: self.via.clone(), hub: self.hub.clone() }
    }
}

impl<T: Via> fmt::Debug for Ctx<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx").field("transports", &T::TRANSPORTS).finish_non_exhaustive()
    }
}

impl<T: Via, S: Send + Sync> FromRequestParts<S> for Ctx<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let hub = Hub::of_request(parts, "Ctx")?.clone();
        let socket = parts.extensions.get::<Socket>().cloned();
        Self::of(socket, hub).ok_or_else(|| Error::wrong_transport(T::TRANSPORTS, None))
    }
}

/// A context that holds a socket, or may hold one.
#[diagnostic::on_unimplemented(
    message = "an HTTP-only action has no requesting socket",
    label = "`{Self}` never holds a socket",
    note = "take `ctx: Ctx`: the action then answers both transports, and `ctx.socket()` is an `Option<&Socket>`",
    note = "or take `ctx: Ctx<Socket>`: the action then answers sockets only, and `ctx.socket()` is a `&Socket`"
)]
pub trait MayHaveSocket {
    #[doc(hidden)]
    type Borrowed<'a>
    where
        Self: 'a;
    #[doc(hidden)]
    fn borrow(&self) -> Self::Borrowed<'_>;
}

impl MayHaveSocket for Ctx {
    type Borrowed<'a> = Option<&'a Socket>;
    fn borrow(&self) -> Option<&Socket> {
        self.via.as_ref()
    }
}

impl MayHaveSocket for Ctx<Socket> {
    type Borrowed<'a> = &'a Socket;
    fn borrow(&self) -> &Socket {
        &self.via
    }
}

/// A context that holds a socket for certain.
#[diagnostic::on_unimplemented(
    message = "`subscribe` needs a requesting socket, and this action may have none",
    label = "`{Self}` does not guarantee a socket",
    note = "in an action that answers both transports write `if let Some(socket) = ctx.socket() {{ socket.subscribe(..).await?; }}`",
    note = "or take `ctx: Ctx<Socket>`: the action then answers sockets only"
)]
pub trait HasSocket {
    #[doc(hidden)]
    fn certain(&self) -> &Socket;
}

impl HasSocket for Ctx<Socket> {
    fn certain(&self) -> &Socket {
        &self.via
    }
}

/// What an argument says of the transports of its action.
#[derive(Clone, Copy, Debug)]
pub enum Declared {
    /// A context, of which an action has one.
    Context(Transports),
    /// `Socket`, which is there over a socket only.
    Socket,
}

/// Asks the compiler whether an argument's type is a context or a socket.
#[derive(Debug)]
pub struct Probe<T>(PhantomData<T>);

impl<T: Via> Probe<Ctx<T>> {
    /// The transports that this context declares.
    pub const DECLARED: Option<Declared> = Some(Declared::Context(T::TRANSPORTS));
}

impl Probe<Socket> {
    /// A socket.
    pub const DECLARED: Option<Declared> = Some(Declared::Socket);
}

/// The answer of every [`Probe`] of any other type.
pub trait NoContext {
    /// Neither a context nor a socket, so no transports of its own.
    const DECLARED: Option<Declared> = None;
}

impl<T> NoContext for Probe<T> {}

/// The transports of an action from what its arguments declare: both transports unless a context or a socket says otherwise.
pub const fn transports(declared: &[Option<Declared>]) -> Transports {
    let mut transports = Transports::Both;
    let mut i = 0;
    while i < declared.len() {
        match declared[i] {
            Some(Declared::Context(Transports::Both)) | None => {}
            Some(Declared::Context(one)) => transports = one,
            Some(Declared::Socket) => transports = Transports::Socket,
        }
        i += 1;
    }
    transports
}

/// Fails at the caller when an argument contradicts an earlier one.
#[track_caller]
pub const fn agree(earlier: &[Option<Declared>], this: Option<Declared>) {
    let mut i = 0;
    while i < earlier.len() {
        match (earlier[i], this) {
            (Some(Declared::Context(_)), Some(Declared::Context(_))) => panic!("an action takes one context"),
            (Some(Declared::Context(Transports::Http)), Some(Declared::Socket))
            | (Some(Declared::Socket), Some(Declared::Context(Transports::Http))) => panic!(
                "`Ctx<Http>` answers HTTP only, where there is no `Socket`: \
                 write `ctx: Ctx<Socket>` for an action over sockets, or `ctx: Ctx, socket: Option<Socket>` for both"
            ),
            _ => {}
        }
        i += 1;
    }
}
