//! A socket on a pipe in memory: as a client has it, without a port, and on a clock that a test may stop.

use axum::{Router, body::Body, http::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{DuplexStream, duplex};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{client::IntoClientRequest, http::HeaderName},
};
use tower::ServiceExt;

/// Opens an Engine.IO 4 connection to an application; its packets come and go unread.
///
/// # Panics
///
/// If the application does not take it.
pub async fn connect(router: &Router, headers: &[(&'static str, &str)]) -> WebSocketStream<DuplexStream> {
    let (ours, theirs) = duplex(64 * 1024);
    let router = router.clone();
    tokio::spawn(async move {
        let service = service_fn(move |request: Request<Incoming>| router.clone().oneshot(request.map(Body::new)));
        // It ends with the client's end of the pipe.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(theirs), service).with_upgrades().await;
    });
    let mut request = "ws://app.example/socket.io/?EIO=4&transport=websocket".into_client_request().expect("a url");
    for (name, value) in headers {
        request.headers_mut().insert(HeaderName::from_static(name), value.parse().expect("a value"));
    }
    client_async(request, ours).await.expect("an upgrade").0
}
