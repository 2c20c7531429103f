//! Unit tests of actions, without a server.

use axum::http::{Request, request::Parts};
use catamaran_pubsub::EncodedEvent;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::{Ctx, Http, Hub, Socket, http::Proxies, socketio::SocketSubscriber};

/// A socket that no network carries: it subscribes like any other, and keeps what it receives.
///
/// ```
/// use catamaran::{RawChannel, RawEvent, prelude::*, test::TestSocket};
///
/// #[action(get "/rooms/{id}")]
/// async fn watch(ctx: Ctx<Socket>, id: u64) -> catamaran::Result {
///     ctx.subscribe(&RawChannel::new(format!("room:{id}"))).await?;
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> catamaran::Result {
/// let hub = Hub::default();
/// let mut ada = TestSocket::new(&hub);
/// watch(ada.ctx(), 7).await?;
/// hub.publish(&RawChannel::new("room:7"), RawEvent::new("said", &"hi")?).await?;
/// assert_eq!(ada.received(), [r#"["said","hi"]"#]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TestSocket {
    socket: Socket,
    inbox: UnboundedReceiver<EncodedEvent>,
}

impl TestSocket {
    /// A socket on this hub, with a handshake that says nothing.
    pub fn new(hub: &Hub) -> Self {
        Self::with_handshake(hub, Request::new(()))
    }

    /// A socket on this hub that was opened by this request, for actions that read the handshake.
    pub fn with_handshake(hub: &Hub, handshake: Request<()>) -> Self {
        let (sender, inbox) = mpsc::unbounded_channel();
        let (mut handshake, ()): (Parts, ()) = handshake.into_parts();
        // As that of a served application has them; `ClientAddr` is read from it.
        handshake.extensions.insert(Proxies::default());
        let subscriber = SocketSubscriber::of_inbox(socketioxide::socket::Sid::new().to_string(), sender, handshake);
        hub.registry().connect(subscriber.subscriber());
        let handshake = subscriber.handshake().expect("it is connected");
        Self { socket: Socket::outside_request(handshake, subscriber, hub.clone()), inbox }
    }

    /// The socket, as actions see it.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The context of a request over this socket, for an action that answers sockets only.
    pub fn ctx(&self) -> Ctx<Socket> {
        Ctx::of(Some(self.socket.clone()), self.socket.hub().clone()).expect("there is a socket")
    }

    /// The context of a request over this socket, for an action that answers both transports.
    pub fn any_ctx(&self) -> Ctx {
        Ctx::of(Some(self.socket.clone()), self.socket.hub().clone()).expect("any request will do")
    }

    /// What arrived since the last call: each event as it would stand in its packet, its name first.
    pub fn received(&mut self) -> Vec<String> {
        let messages = std::iter::from_fn(|| self.inbox.try_recv().ok());
        messages.map(|message| message.to_string()).collect()
    }
}

impl Drop for TestSocket {
    fn drop(&mut self) {
        self.socket.subscriber().end();
        self.socket.hub().registry().leave_all(self.socket.subscriber());
    }
}

/// The context of a request over HTTP, for an action that answers both transports.
pub fn any_ctx(hub: &Hub) -> Ctx {
    Ctx::of(None, hub.clone()).expect("any request will do")
}

/// The context of a request over HTTP, for an action that answers HTTP only.
pub fn http_ctx(hub: &Hub) -> Ctx<Http> {
    Ctx::of(None, hub.clone()).expect("there is no socket")
}
