//! A WebSocket client that sends a volume and takes back what comes at the same time, in bounded memory.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use xxhash_rust::xxh3::Xxh3;

use crate::client::Target;
use crate::plan::{Moved, Volume};

/// The most bytes of a message.
const MESSAGE_MAX: usize = 1024 * 1024;

/// Opens the WebSocket, sends everything while reading what comes back, closes.
pub(crate) async fn volume(plan: &Volume) -> Moved {
    let mut moved = Moved::default();
    let began = Instant::now();
    let limit = Duration::from_millis(plan.timeout_ms);
    let outcome = tokio::time::timeout(limit, exchange(plan, &mut moved)).await;
    moved.error = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(e)) => Some(format!("{e:#}")),
        Err(_) => Some(format!("not done within {limit:?}")),
    };
    moved.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    moved
}

async fn exchange(plan: &Volume, moved: &mut Moved) -> anyhow::Result<()> {
    ensure!(
        (1..=MESSAGE_MAX).contains(&plan.message_bytes),
        "message_bytes: {} is not accepted, expected 1 to {MESSAGE_MAX}",
        plan.message_bytes
    );
    let target = Target::resolve(&plan.url).await?;
    let stream = TcpStream::connect(target.address).await.context("connect")?;
    stream.set_nodelay(true)?;
    let url = format!("ws://{}{}", target.authority, target.path);
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await.context("upgrade")?;
    let (mut writer, mut reader) = socket.split();
    let Moved {
        sent,
        received,
        sent_hash,
        received_hash,
        ..
    } = moved;
    let write = async {
        let mut hash = Xxh3::new();
        for number in 0_u64.. {
            let left = usize::try_from(plan.bytes - *sent).unwrap_or(usize::MAX);
            if left == 0 {
                break;
            }
            let message = message(number, left.min(plan.message_bytes));
            hash.update(&message);
            *sent += message.len() as u64;
            writer.send(Message::Binary(message)).await.context("send")?;
        }
        *sent_hash = format!("{:016x}", hash.digest());
        anyhow::Ok(writer)
    };
    let read = async {
        let mut hash = Xxh3::new();
        while *received < plan.bytes {
            let message = reader.next().await.context("ended")?.context("receive")?;
            let Message::Binary(bytes) = message else { continue };
            hash.update(&bytes);
            *received += bytes.len() as u64;
        }
        *received_hash = format!("{:016x}", hash.digest());
        anyhow::Ok(reader)
    };
    let (writer, reader) = tokio::try_join!(write, read)?;
    let mut socket = writer.reunite(reader)?;
    socket.close(None).await.context("close")?;
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}

/// A message that differs from every other, at small cost: 8 bytes of it are its number, and the others follow from these.
fn message(number: u64, length: usize) -> Bytes {
    let mut word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 16);
    bytes.extend_from_slice(&number.to_le_bytes());
    while bytes.len() < length {
        word = word.rotate_left(17).wrapping_mul(0xd6e8_feb8_6659_fd93);
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.truncate(length);
    Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_differ_and_are_as_long_as_wanted() {
        assert_eq!(message(3, 1000).len(), 1000);
        assert_eq!(message(3, 5).len(), 5);
        assert_eq!(message(3, 1000), message(3, 1000));
        assert_ne!(message(3, 1000)[8..], message(4, 1000)[8..]);
    }
}
