//! A bound on what requests hold in memory before they are answered.
//!
//! A message is decoded when it is whole, so a client that opens calls and never sends the last byte of their
//! messages makes the server hold all the other bytes: one connection with a thousand calls held 4 GiB.

use http_body::{Body as HttpBody, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Bytes, Service, http};
use tonic::server::NamedService;

use crate::status::MESSAGE_MAX;

/// What all requests of a server may hold together. Clones share it.
#[derive(Debug, Clone)]
pub struct RequestBudget {
    held: Arc<AtomicU64>,
    most: u64,
    patience: Duration,
}

impl RequestBudget {
    /// `most` bytes at once; a request that is being waited for longer than `patience` without a byte is given up.
    #[must_use]
    pub fn new(most: u64, patience: Duration) -> Self {
        Self {
            held: Arc::default(),
            most,
            patience,
        }
    }

    /// The same service, counted.
    pub fn around<S>(&self, service: S) -> Budgeted<S> {
        Budgeted {
            service,
            budget: self.clone(),
        }
    }
}

/// A service whose requests are counted.
#[derive(Debug, Clone)]
pub struct Budgeted<S> {
    service: S,
    budget: RequestBudget,
}

impl<S: NamedService> NamedService for Budgeted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Budgeted<S>
where
    S: Service<http::Request<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let share = Arc::new(Share {
            budget: self.budget.clone(),
            bytes: AtomicU64::new(0),
        });
        let counted = Arc::clone(&share);
        let request = request.map(|inner| {
            Body::new(CountedBody {
                inner,
                share: counted,
                waiting: None,
            })
        });
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await;
            // Until here the decoded message may live.
            drop(share);
            answer
        })
    }
}

/// What one request holds of the budget.
#[derive(Debug)]
struct Share {
    budget: RequestBudget,
    bytes: AtomicU64,
}

impl Share {
    /// Counts bytes that arrived. One request is never counted as more than its largest message: a stream of
    /// messages holds one at a time.
    fn take(&self, more: usize) -> bool {
        let most = u64::try_from(MESSAGE_MAX).unwrap_or(u64::MAX);
        let before = self.bytes.load(Ordering::Relaxed);
        let more = u64::try_from(more)
            .unwrap_or(most)
            .min(most.saturating_sub(before));
        if self.budget.held.fetch_add(more, Ordering::Relaxed) + more > self.budget.most {
            self.budget.held.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        // Only the body's reader adds, so nothing is lost between the load and this.
        self.bytes.store(before + more, Ordering::Relaxed);
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        self.budget.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

struct CountedBody {
    inner: Body,
    share: Arc<Share>,
    /// Runs while the client is waited for.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(frame) => {
                self.waiting = None;
                if let Some(Ok(frame)) = &frame
                    && let Some(data) = frame.data_ref()
                    && !self.share.take(data.len())
                {
                    let text = "too many requests are being received at once; try again";
                    return Poll::Ready(Some(Err(Status::resource_exhausted(text))));
                }
                Poll::Ready(frame)
            }
            Poll::Pending => {
                let end = Instant::now() + self.share.budget.patience;
                let waiting = self
                    .waiting
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
                waiting.as_mut().poll(context).map(|()| {
                    let text = "the rest of the request did not come";
                    Some(Err(Status::deadline_exceeded(text)))
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt, stream};
    use std::convert::Infallible;
    use tonic::Code;

    const MIB: usize = 1024 * 1024;

    /// Reads what comes and never answers, as a service does that waits for the rest of a message.
    #[derive(Clone)]
    struct Reader(tokio::sync::mpsc::UnboundedSender<Result<usize, Code>>);

    impl Service<http::Request<Body>> for Reader {
        type Response = ();
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<Body>) -> Self::Future {
            let told = self.0.clone();
            Box::pin(async move {
                let mut body = request.into_body();
                while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                    let heard = frame
                        .map(|frame| frame.data_ref().map_or(0, Bytes::len))
                        .map_err(|status| status.code());
                    told.send(heard).ok();
                    if heard.is_err() {
                        break;
                    }
                }
                Ok(())
            })
        }
    }

    /// A body of one piece, after which nothing comes.
    struct Unfinished(stream::BoxStream<'static, Bytes>);

    impl HttpBody for Unfinished {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            self.0
                .poll_next_unpin(cx)
                .map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn unfinished(bytes: usize) -> http::Request<Body> {
        let piece = stream::iter([Bytes::from(vec![0; bytes])]).chain(stream::pending());
        http::Request::new(Body::new(Unfinished(piece.boxed())))
    }

    #[tokio::test]
    async fn unfinished_requests_hold_no_more_than_the_budget_and_give_it_back() {
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let budget = RequestBudget::new(8 * MIB as u64, Duration::from_secs(60));
        let mut service = budget.around(Reader(told));
        let mut held = tokio::task::JoinSet::new();
        let first = held.spawn(service.call(unfinished(3 * MIB)));
        held.spawn(service.call(unfinished(3 * MIB)));
        assert_eq!(heard.recv().await, Some(Ok(3 * MIB)));
        assert_eq!(heard.recv().await, Some(Ok(3 * MIB)));
        service.call(unfinished(3 * MIB)).await.unwrap();
        assert_eq!(heard.recv().await, Some(Err(Code::ResourceExhausted)));
        first.abort();
        assert!(held.join_next().await.unwrap().is_err());
        held.spawn(service.call(unfinished(3 * MIB)));
        assert_eq!(heard.recv().await, Some(Ok(3 * MIB)));
    }

    #[tokio::test]
    async fn a_request_whose_rest_does_not_come_is_given_up() {
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let budget = RequestBudget::new(8 * MIB as u64, Duration::from_millis(20));
        budget.around(Reader(told)).call(unfinished(5)).await.unwrap();
        assert_eq!(heard.recv().await, Some(Ok(5)));
        assert_eq!(heard.recv().await, Some(Err(Code::DeadlineExceeded)));
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }
}
