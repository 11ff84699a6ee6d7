//! A port where HTTP/1.1 is spoken by hand, for what a library does not say: informational responses, answers to half a request,
//! and answers that are none. One request for each connection.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest head of a request, in bytes.
const HEAD_MAX: usize = 16 * 1024;
/// How long a client may take for its head, and what is left of its body is taken after the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing is said where nothing is to be said.
const SILENCE: Duration = Duration::from_secs(60);

/// Serves one connection.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, instance: &str) {
    let Ok(Some(path)) = tokio::time::timeout(PATIENCE, path(&mut stream)).await else {
        return;
    };
    // Errors are the client's going away, which is its right.
    let _ = answer(&mut stream, &path, instance).await;
    let _ = stream.shutdown().await;
    // What is left unread would reset the connection under the answer.
    let _ = tokio::time::timeout(PATIENCE, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await;
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, path: &str, instance: &str) -> std::io::Result<()> {
    let say = |status: &str| {
        let length = instance.len() + 1;
        format!(
            "HTTP/1.1 {status}\r\nx-tenbin-instance: {instance}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{instance}\n"
        )
    };
    let text = match path {
        "/early" => {
            stream
                .write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload; as=style\r\n\r\n")
                .await?;
            say("200 OK")
        }
        // Whatever body there is, it is not read before.
        "/refuse" => say("417 Expectation Failed"),
        "/half" => {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
            stream.write_all(head.as_bytes()).await?;
            return gone(stream).await;
        }
        "/cut" => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_owned(),
        "/silent" => return gone(stream).await,
        "/close" => return Ok(()),
        "/garbage" => "this is no HTTP\r\n\r\n".to_owned(),
        _ => say("200 OK"),
    };
    stream.write_all(text.as_bytes()).await
}

/// Says nothing more until the client has gone.
async fn gone<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<()> {
    let mut sink = tokio::io::sink();
    let read = tokio::io::copy(stream, &mut sink);
    tokio::time::timeout(SILENCE, read)
        .await
        .map_or(Ok(()), |read| read.map(|_| ()))
}

/// The path in the head of the request; none if there is no such head.
async fn path<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        if head.len() > HEAD_MAX || stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let line = head.split(|byte| *byte == b'\r').next()?;
    let target = std::str::from_utf8(line).ok()?.split(' ').nth(1)?;
    Some(target.split('?').next().unwrap_or(target).to_owned())
}
