//! The body of a request, which must keep coming.

use std::{
    error::Error as StdError,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{HeaderValue, Request, header},
    response::{IntoResponse, Response},
};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use crate::Error;

/// How long a body may keep the server waiting at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of that each byte gives back: a thousand bytes a second wear it out never.
const EARNED: Duration = Duration::from_millis(1);

/// A body that ends with an error when it comes too slowly. Only the time counts for which somebody waits for it.
struct Paced<B> {
    body: B,
    patience: Duration,
    /// Since when somebody waits, and for how long yet.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    pace: MinBodyRate,
}

/// Whether the body of a request came too slowly.
#[derive(Clone, Default)]
pub(crate) struct MinBodyRate(Arc<AtomicBool>);

impl MinBodyRate {
    /// A request whose body must keep coming, and its pace; `None` if there is no body.
    pub(crate) fn of<B>(request: Request<B>) -> (Request<Body>, Option<Self>)
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        if request.body().is_end_stream() {
            return (request.map(Body::new), None);
        }
        let pace = Self::default();
        let paced = |body| Body::new(Paced { body, patience: PATIENCE, waiting: None, pace: pace.clone() });
        (request.map(paced), Some(pace))
    }

    /// The answer to the request: whatever was made of a body that came too slowly, its client hears that it did.
    pub(crate) fn answer(&self, response: Response) -> Response {
        if !self.0.load(Ordering::Relaxed) {
            return response;
        }
        let mut response = Error::slow_body().into_response();
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

impl<B> HttpBody for Paced<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn StdError + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            let waited = this.waiting.take().map_or(Duration::ZERO, |(since, _)| since.elapsed());
            let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
            let earned = EARNED.saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX));
            this.patience = this.patience.saturating_sub(waited).saturating_add(earned).min(PATIENCE);
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let patience = this.patience;
        let (_, end) = this.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(patience))));
        if end.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.pace.0.store(true, Ordering::Relaxed);
        let error = io::Error::new(io::ErrorKind::TimedOut, "the body came too slowly");
        Poll::Ready(Some(Err(error.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::BodyExt;

    use super::*;

    /// How long a body of so many bytes takes, and whether it arrives, if so many of them come each second.
    async fn take(bytes: usize, each_second: usize) -> (Duration, bool) {
        let start = Instant::now();
        let parts = stream::unfold(bytes, move |left| async move {
            sleep(Duration::from_secs(1)).await;
            let part = left.min(each_second);
            (part > 0).then(|| (Ok::<_, io::Error>(Bytes::from(vec![0; part])), left - part))
        });
        let (request, pace) = MinBodyRate::of(Request::new(Body::from_stream(parts)));
        let arrived = request.into_body().collect().await.is_ok();
        assert_eq!(pace.unwrap().0.load(Ordering::Relaxed), !arrived);
        (start.elapsed(), arrived)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_ended_and_one_that_keeps_coming_is_not() {
        assert_eq!(take(100_000, 1000).await, (Duration::from_secs(101), true));
        assert!(take(5_000, 600).await.1, "what is short may come slowly");
        for drop in [1, 10, 100] {
            let (time, arrived) = take(100_000, drop).await;
            assert!(!arrived && time < Duration::from_secs(12), "{drop}: {time:?}");
        }
        let (time, arrived) = take(100_000, 500).await;
        assert!(!arrived && time < Duration::from_secs(21), "{time:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_time_counts_for_which_somebody_waits() {
        let body = Body::from_stream(stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"a"))]));
        let (request, _) = MinBodyRate::of(Request::new(body));
        sleep(10 * PATIENCE).await;
        assert!(request.into_body().collect().await.is_ok());
    }
}
