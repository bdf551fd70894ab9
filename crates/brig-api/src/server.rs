//! What every server of this contract needs beside the generated code.

mod budget;

pub use budget::{Budgeted, RequestBudget};

use crate::convert::InvalidFields;
use crate::status::{MESSAGE_MAX, ServiceError};
use brig_core::limits::Bytes as Size;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::future::Future;
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

/// Wraps a service, so that a request which tonic refuses by itself is answered in the words of the contract too.
///
/// tonic answers a message that is too large with `OUT_OF_RANGE` and one that is none of ours with `INTERNAL`, which a
/// client could not tell from a fault of the daemon, and gives no reason.
#[derive(Debug, Clone)]
pub struct NamedRefusals<S>(pub S);

impl<S: NamedService> NamedService for NamedRefusals<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for NamedRefusals<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move { answer.await.map(named) })
    }
}

/// The header in which every error of ours has its reason.
const DETAILS: &str = "grpc-status-details-bin";

/// The same answer, or ours in the place of tonic's.
fn named(answer: http::Response<Body>) -> http::Response<Body> {
    let code = match Status::from_header_map(answer.headers()) {
        Some(status) if !answer.headers().contains_key(DETAILS) => status.code(),
        Some(_) | None => return answer,
    };
    let error = if code == Code::OutOfRange {
        ServiceError::MessageTooLarge { limit: MESSAGE_LIMIT }
    } else if code == Code::Internal {
        let text = "this is no message of the contract in proto/brig/v1";
        ServiceError::Invalid(InvalidFields::one("", text))
    } else {
        return answer;
    };
    Status::from(error).into_http()
}

/// [`MESSAGE_MAX`], for a text.
const MESSAGE_LIMIT: Size = Size::mib(MESSAGE_MAX as u64 / (1024 * 1024));
