//! A socket on a pipe in memory: as a client has it, without a port, and on a clock that a test may stop.

use axum::{Router, body::Body, http::Request};
use hyper::{body::Incoming, header::HeaderValue, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{client::IntoClientRequest, http::HeaderName, protocol::Role},
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
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
        request.headers_mut().insert(HeaderName::from_static(name), value);
    }
    upgrade(&request, ours).await
}

/// Sends the request of a websocket, whose headers may have any bytes: a browser's cookies do, and tungstenite sends ASCII
/// only.
///
/// # Panics
///
/// If the server does not answer with 101.
pub async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(request: &Request<()>, mut stream: S) -> WebSocketStream<S> {
    let target = request.uri().path_and_query().expect("a target");
    let mut head = format!("GET {target} HTTP/1.1\r\n").into_bytes();
    for (name, value) in request.headers() {
        head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    stream.write_all(&head).await.expect("an open connection");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("the head of an answer"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
}
