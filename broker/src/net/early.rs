//! What a listener answers before there is a broker behind it: one kind of request, one for each connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use jackdaw_protocol::frame::{self, Next, Splitter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::listener::Bound;

/// A request is longer than this only by mistake.
const REQUEST_MAX: usize = 4096;
/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers requests of one API and version until the task is dropped; other connections are closed.
pub async fn serve_early(bound: &Bound, api: (i16, i16), answer: Arc<dyn Fn() -> Bytes + Send + Sync>) {
    loop {
        let Ok(stream) = bound.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            // Whoever asked asks again.
            let _ = tokio::time::timeout(PATIENCE, answer_one(stream, api, &*answer)).await;
        });
    }
}

async fn answer_one(mut stream: TcpStream, (key, version): (i16, i16), answer: &(dyn Fn() -> Bytes + Send + Sync)) {
    let (splitter, mut input) = (Splitter::new(REQUEST_MAX), BytesMut::new());
    let request = loop {
        match splitter.next(&mut input) {
            Ok(Next::Frame(bytes)) => break bytes,
            Ok(Next::NeedMore { .. }) => {}
            Err(_) => return,
        }
        if !matches!(stream.read_buf(&mut input).await, Ok(1..)) {
            return;
        }
    };
    let Ok(request) = frame::parse_header(request, |_, _| Some(false)) else { return };
    if (request.api_key, request.api_version) != (key, version) {
        return;
    }
    let body = answer();
    let mut out = BytesMut::with_capacity(8 + body.len());
    out.put_u32(4 + body.len() as u32);
    out.put_i32(request.correlation_id);
    out.put_slice(&body);
    // Who asked may be gone.
    let _ = stream.write_all(&out).await;
}
