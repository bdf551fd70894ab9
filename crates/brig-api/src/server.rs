//! What every server of this contract needs beside the generated code.

mod budget;

pub use budget::{Budgeted, RequestBudget};

use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::body::Body;
use tonic::codegen::{Bytes, Service, http};
use tonic::server::NamedService;
use tonic::{Code, Status};

/// Wraps a service with streams of requests, so that a request which its caller broke off ends with an error.
///
/// A client that goes away resets its stream. tonic takes a reset with `CANCEL` for the regular end of a request
/// stream, so that half of an upload would be taken for the whole file. Only the end that the client declared is
/// an end.
#[derive(Debug, Clone)]
pub struct WholeRequests<S>(pub S);

impl<S: NamedService> NamedService for WholeRequests<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for WholeRequests<S>
where
    S: Service<http::Request<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> S::Future {
        self.0.call(request.map(|body| Body::new(WholeBody(body))))
    }
}

struct WholeBody(Body);

impl HttpBody for WholeBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // Any code but `Cancelled`, which tonic would take for the end again.
        let broken_off = || Status::aborted("the caller broke the request off");
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll_frame(context)) {
            Some(Ok(frame)) => Some(Ok(frame)),
            // These two come from the server itself: see `budget`.
            Some(Err(ours)) if matches!(ours.code(), Code::ResourceExhausted | Code::DeadlineExceeded) => {
                Some(Err(ours))
            }
            Some(Err(_)) => Some(Err(broken_off())),
            // hyper ends a body silently after a reset with `NO_ERROR`; the transport knows better.
            None if !self.0.is_end_stream() => Some(Err(broken_off())),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
