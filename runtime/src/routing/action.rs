//! An action as a value: its route, and how to run it.

use std::{fmt, future::Future, pin::Pin, str::FromStr, sync::Arc};

use axum::{
    extract::{FromRef, FromRequest, FromRequestParts, RawPathParams, Request},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};

use crate::{Error, Route};

/// The answer of an action that is under way.
pub type Reply = Pin<Box<dyn Future<Output = Response> + Send>>;

/// One action: where it answers, and how to run it on a state `S`.
///
/// `#[action]` writes this constant beside the function, as `name::ACTION`.
pub struct Action<S> {
    /// Where it answers.
    pub route: Route,
    #[doc(hidden)]
    pub call: fn(Call<S>) -> Reply,
}

impl<S> Clone for Action<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Action<S> {}

impl<S> fmt::Debug for Action<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.route.fmt(f)
    }
}

/// The state of an action that asks for none; every application state provides it.
#[derive(Debug)]
pub struct NoState;

impl<S> FromRef<S> for NoState {
    fn from_ref(_: &S) -> Self {
        Self
    }
}

/// One request on its way into an action.
pub struct Call<S> {
    /// What is asked.
    pub request: Request,
    /// The state of the application, or of its part.
    pub state: Arc<S>,
    /// The names of the route's parameters.
    pub params: &'static [&'static str],
}

impl<S> fmt::Debug for Call<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("params", &self.params).finish_non_exhaustive()
    }
}

/// The names of a route's parameters, left in the request for [`Param`].
#[derive(Clone, Copy)]
struct Names(&'static [&'static str]);

/// The `N`th parameter of the action's own route, read from the path by its name.
#[derive(Debug)]
pub struct Param<const N: usize, T>(pub T);

/// A value that a parameter of a path can be read as.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from the path",
    label = "does not implement `FromStr`",
    note = "an argument named like a `{{parameter}}` is read from the path; if this one is not meant to be, rename the argument, or the parameter",
    note = "implement `FromStr` for it, or take `Path<T>`, which reads any `Deserialize` type"
)]
pub trait FromPath: FromStr {}

#[diagnostic::do_not_recommend]
impl<T: FromStr> FromPath for T {}

impl<const N: usize, T: FromPath, S: Send + Sync> FromRequestParts<S> for Param<N, T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let name = parts.extensions.get::<Names>().and_then(|names| names.0.get(N)).copied().unwrap_or_default();
        let all = RawPathParams::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)?;
        // A router around ours may name a parameter alike; the innermost, which is ours, comes last.
        let text = all.iter().filter(|(key, _)| *key == name).last().map_or("", |(_, text)| text);
        text.parse().map(Self).map_err(|_| {
            let whole = std::any::type_name::<T>();
            let kind = whole.rsplit("::").next().unwrap_or(whole);
            let message = format!("the path has {text:?} for `{name}`, which is not a valid {kind}");
            Error::new(StatusCode::BAD_REQUEST, message).into_response()
        })
    }
}

/// An argument that needs no body.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of an action",
    label = "not an extractor for the state `{S}`",
    note = "an argument named like a `{{parameter}}` of the path is read from the path; every other argument is an axum extractor",
    note = "write `State(db): State<Db>` for shared state, `Json(body): Json<T>` for a body, `Query(query): Query<T>` for a query",
    note = "an extractor of your own that reads state needs a controller that says which: `#[controller(\"/x\", state = AppState)]`",
    note = "an extractor that reads the body, like `Json<T>`, must be the last argument"
)]
pub trait Part<S>: Sized + Send {
    #[doc(hidden)]
    fn part(parts: &mut Parts, state: &S) -> impl Future<Output = Result<Self, Response>> + Send;
}

impl<T: FromRequestParts<S> + Send, S: Sync> Part<S> for T {
    async fn part(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        T::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)
    }
}

/// The last argument, which may read the body.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of an action",
    label = "not an extractor for the state `{S}`",
    note = "an argument named like a `{{parameter}}` of the path is read from the path; every other argument is an axum extractor",
    note = "write `State(db): State<Db>` for shared state, `Json(body): Json<T>` for a body, `Query(query): Query<T>` for a query",
    note = "an extractor of your own that reads state needs a controller that says which: `#[controller(\"/x\", state = AppState)]`"
)]
pub trait Last<S, M>: Sized + Send {
    #[doc(hidden)]
    fn last(request: Request, state: &S) -> impl Future<Output = Result<Self, Response>> + Send;
}

impl<T: FromRequest<S, M> + Send, S: Send + Sync, M> Last<S, M> for T {
    async fn last(request: Request, state: &S) -> Result<Self, Response> {
        T::from_request(request, state).await.map_err(IntoResponse::into_response)
    }
}

/// What an action may answer with.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the answer of an action",
    label = "does not implement `IntoResponse`",
    note = "answer with `Json<T>`, a string, a status code, or anything else that is `IntoResponse`",
    note = "`Json<T>` needs `#[derive(serde::Serialize)]` above `T`, and the error of a `Result` is `catamaran::Error`, as in `catamaran::Result<T>`"
)]
pub trait Answer {
    #[doc(hidden)]
    fn answer(self) -> Response;
}

#[diagnostic::do_not_recommend]
impl<T: IntoResponse> Answer for T {
    fn answer(self) -> Response {
        self.into_response()
    }
}

/// A state that can be had from the state `S`; `M` is always `()`.
#[diagnostic::on_unimplemented(
    message = "the state `{S}` does not provide `{Self}`",
    label = "an action of this controller takes `State<{Self}>`",
    note = "say which state the controller has: `actions! {{ \"/x\", state = AppState => .. }}`",
    note = "if `{S}` is that state, implement `FromRef<{S}>` for `{Self}`"
)]
pub trait PartOf<S, M>: FromRef<S> {}

#[diagnostic::do_not_recommend]
impl<S, T: FromRef<S>> PartOf<S, ()> for T {}

/// Runs an action on the part of a controller's state that it asks for.
pub fn lift<S, T: FromRef<S>>(call: Call<S>, run: fn(Call<T>) -> Reply) -> Reply {
    let Call { request, state, params } = call;
    run(Call { request, state: Arc::new(T::from_ref(&state)), params })
}

/// Stands in for an action that did not compile, so that the error about it is the only one.
pub fn rejected<S>(_: Call<S>) -> Reply {
    unreachable!("a program with a rejected action does not compile")
}

/// Runs an action that takes no argument.
pub fn call0<S, O, F, R>(_: Call<S>, f: F) -> Reply
where
    O: Answer,
    F: FnOnce() -> R + Send + 'static,
    R: Future<Output = O> + Send,
{
    Box::pin(async move { f().await.answer() })
}

macro_rules! calls {
    ($($name:ident: $($part:ident)*;)*) => {$(
        /// Runs an action: reads its arguments from left to right, then calls it.
        #[allow(non_snake_case, unused_mut, unused_variables, unused_assignments)]
        pub fn $name<S, $($part,)* Z, O, M, F, R>(call: Call<S>, f: F) -> Reply
        where
            S: Send + Sync + 'static,
            $($part: Part<S>,)*
            Z: Last<S, M>,
            O: Answer,
            F: FnOnce($($part,)* Z) -> R + Send + 'static,
            R: Future<Output = O> + Send,
        {
            Box::pin(async move {
                let Call { request, state, params } = call;
                let (mut parts, body) = request.into_parts();
                if !params.is_empty() {
                    parts.extensions.insert(Names(params));
                }
                $(let $part = match $part::part(&mut parts, &state).await {
                    Ok(value) => value,
                    Err(rejection) => return rejection,
                };)*
                let last = match Z::last(Request::from_parts(parts, body), &state).await {
                    Ok(value) => value,
                    Err(rejection) => return rejection,
                };
                f($($part,)* last).await.answer()
            })
        }
    )*};
}

calls! {
    call1: ;
    call2: A;
    call3: A B;
    call4: A B C;
    call5: A B C D;
    call6: A B C D E;
    call7: A B C D E G;
    call8: A B C D E G H;
    call9: A B C D E G H I;
    call10: A B C D E G H I J;
    call11: A B C D E G H I J K;
    call12: A B C D E G H I J K L;
    call13: A B C D E G H I J K L N;
    call14: A B C D E G H I J K L N P;
    call15: A B C D E G H I J K L N P Q;
    call16: A B C D E G H I J K L N P Q T;
}
