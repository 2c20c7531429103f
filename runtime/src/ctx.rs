//! The context of a request, typed by where it may come from.

use std::{fmt, marker::PhantomData};

use axum::{extract::FromRequestParts, http::request::Parts};

use crate::{Error, Hub, Reach, RequestSocket};

/// Stands for no restriction: a request over HTTP or over a socket is the default of [`Ctx`], and
/// [`App::packet_headers`](crate::App::packet_headers) takes it in place of names.
#[derive(Clone, Copy, Debug)]
pub struct Any;

/// A request over HTTP, which never has a socket: `Ctx<Http>`.
#[derive(Clone, Copy, Debug)]
pub enum Http {}

/// A request over a socket, which is there for certain: `Ctx<Socket>`.
#[derive(Clone, Copy, Debug)]
pub enum Socket {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Any {}
    impl Sealed for super::Http {}
    impl Sealed for super::Socket {}
}

/// Where a request may come from: [`Any`], [`Http`] or [`Socket`], the parameter of [`Ctx`].
///
/// It is the bound of a function that takes the context of any action; nobody else can implement it.
///
/// ```
/// use catamaran::{Untyped, UntypedEvent, Via, prelude::*};
///
/// /// Called by actions of all transports.
/// async fn log<T: Via>(ctx: &Ctx<T>, text: &str) -> catamaran::Result {
///     ctx.publish(&Untyped::new("log"), UntypedEvent::new("line", text)?).await?;
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
pub trait Via: sealed::Sealed + Sized + 'static {
    #[doc(hidden)]
    const REACH: Reach;
    #[doc(hidden)]
    type Held: Clone + Send + Sync;
    #[doc(hidden)]
    fn hold(socket: Option<RequestSocket>) -> Option<Self::Held>;
}

impl Via for Any {
    const REACH: Reach = Reach::Both;
    type Held = Option<RequestSocket>;
    fn hold(socket: Option<RequestSocket>) -> Option<Self::Held> {
        Some(socket)
    }
}

impl Via for Http {
    const REACH: Reach = Reach::Http;
    type Held = ();
    fn hold(socket: Option<RequestSocket>) -> Option<()> {
        socket.is_none().then_some(())
    }
}

impl Via for Socket {
    const REACH: Reach = Reach::Socket;
    type Held = RequestSocket;
    fn hold(socket: Option<RequestSocket>) -> Option<RequestSocket> {
        socket
    }
}

/// The context of a request; its type says from where the request may come, and so what it can do.
///
/// | an action takes | answers | `ctx.socket()` |
/// |---|---|---|
/// | `Ctx`, or no context | HTTP and sockets | `Option<&RequestSocket>` |
/// | `Ctx<Socket>` | sockets only | `&RequestSocket` |
/// | `Ctx<Http>` | HTTP only | does not exist |
///
/// [`RequestSocket`] as an argument makes an action answer sockets only too, beside a `Ctx` or without one;
/// `Option<RequestSocket>` does not.
///
/// An action that is asked over the wrong transport does not run: over HTTP the answer is 426, over a socket 400.
pub struct Ctx<T: Via = Any> {
    held: T::Held,
    hub: Hub,
    via: PhantomData<T>,
}

impl<T: Via> Ctx<T> {
    /// A context of a request; none if the request came over a transport that `T` rules out.
    pub(crate) fn of(socket: Option<RequestSocket>, hub: Hub) -> Option<Self> {
        T::hold(socket).map(|held| Self { held, hub, via: PhantomData })
    }

    /// The channels of the application.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The requesting socket: `&RequestSocket` in a `Ctx<Socket>`, `Option<&RequestSocket>` in a plain `Ctx`.
    pub fn socket(&self) -> <Self as MayHaveSocket>::Borrowed<'_>
    where
        Self: MayHaveSocket,
    {
        self.borrow()
    }
}

impl<T: Via> Clone for Ctx<T> {
    fn clone(&self) -> Self {
        Self { held: self.held.clone(), hub: self.hub.clone(), via: PhantomData }
    }
}

impl<T: Via> fmt::Debug for Ctx<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx").field("reach", &T::REACH).finish_non_exhaustive()
    }
}

impl<T: Via, S: Send + Sync> FromRequestParts<S> for Ctx<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let hub = Hub::of_request(parts, "Ctx")?.clone();
        let socket = parts.extensions.get::<RequestSocket>().cloned();
        Self::of(socket, hub).ok_or_else(|| Error::wrong_transport(T::REACH, None))
    }
}

/// A context that holds a socket, or may hold one.
#[diagnostic::on_unimplemented(
    message = "an HTTP-only action has no requesting socket",
    label = "`{Self}` never holds a socket",
    note = "take `ctx: Ctx`: the action then answers both transports, and `ctx.socket()` is an `Option<&RequestSocket>`",
    note = "or take `ctx: Ctx<Socket>`: the action then answers sockets only, and `ctx.socket()` is a `&RequestSocket`"
)]
pub trait MayHaveSocket {
    #[doc(hidden)]
    type Borrowed<'a>
    where
        Self: 'a;
    #[doc(hidden)]
    fn borrow(&self) -> Self::Borrowed<'_>;
}

impl MayHaveSocket for Ctx<Any> {
    type Borrowed<'a> = Option<&'a RequestSocket>;
    fn borrow(&self) -> Option<&RequestSocket> {
        self.held.as_ref()
    }
}

impl MayHaveSocket for Ctx<Socket> {
    type Borrowed<'a> = &'a RequestSocket;
    fn borrow(&self) -> &RequestSocket {
        &self.held
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
    fn certain(&self) -> &RequestSocket;
}

impl HasSocket for Ctx<Socket> {
    fn certain(&self) -> &RequestSocket {
        &self.held
    }
}

/// What an argument says of the transports of its action.
#[derive(Clone, Copy, Debug)]
pub enum Declared {
    /// A context, of which an action has one.
    Context(Reach),
    /// `RequestSocket`, which is there over a socket only.
    Socket,
}

/// Asks the compiler whether an argument's type is a context or a socket.
#[derive(Debug)]
pub struct Probe<T>(PhantomData<T>);

impl<T: Via> Probe<Ctx<T>> {
    /// The reach that this context declares.
    pub const DECLARED: Option<Declared> = Some(Declared::Context(T::REACH));
}

impl Probe<RequestSocket> {
    /// A socket.
    pub const DECLARED: Option<Declared> = Some(Declared::Socket);
}

/// The answer of every [`Probe`] of any other type.
pub trait NoContext {
    /// Neither a context nor a socket, so no reach of its own.
    const DECLARED: Option<Declared> = None;
}

impl<T> NoContext for Probe<T> {}

/// The reach of an action from what its arguments declare: both transports unless a context or a socket says otherwise.
pub const fn reach(declared: &[Option<Declared>]) -> Reach {
    let mut reach = Reach::Both;
    let mut i = 0;
    while i < declared.len() {
        match declared[i] {
            Some(Declared::Context(Reach::Both)) | None => {}
            Some(Declared::Context(one)) => reach = one,
            Some(Declared::Socket) => reach = Reach::Socket,
        }
        i += 1;
    }
    reach
}

/// Fails at the caller when an argument contradicts an earlier one.
#[track_caller]
pub const fn agree(earlier: &[Option<Declared>], this: Option<Declared>) {
    let mut i = 0;
    while i < earlier.len() {
        match (earlier[i], this) {
            (Some(Declared::Context(_)), Some(Declared::Context(_))) => panic!("an action takes one context"),
            (Some(Declared::Context(Reach::Http)), Some(Declared::Socket))
            | (Some(Declared::Socket), Some(Declared::Context(Reach::Http))) => panic!(
                "`Ctx<Http>` answers HTTP only, where there is no `RequestSocket`: \
                 write `ctx: Ctx<Socket>` for an action over sockets, or `ctx: Ctx, socket: Option<RequestSocket>` for both"
            ),
            _ => {}
        }
        i += 1;
    }
}
