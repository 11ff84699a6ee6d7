//! The body of a request: a length and nothing else, made up while it is sent, so that its size costs no memory.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

static CHUNK: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// So many times `x`.
pub(crate) struct Filler {
    left: u64,
}

impl Filler {
    /// A body of `bytes` bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        Filler { left: bytes }
    }
}

impl Body for Filler {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let take = usize::try_from(this.left).unwrap_or(usize::MAX).min(CHUNK.len());
        this.left -= take as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&CHUNK[..take])))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn is_as_long_as_it_says() {
        for bytes in [0, 1, 64 * 1024, 64 * 1024 + 1, 200_000] {
            let body = Filler::new(bytes);
            assert_eq!(body.size_hint().exact(), Some(bytes));
            assert_eq!(body.collect().await.unwrap().to_bytes().len() as u64, bytes);
        }
    }
}
