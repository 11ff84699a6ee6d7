//! What the driver is told and tells of other protocols than plain HTTP requests. Times as in [`crate::Load`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Calls of the demo app's gRPC service, all over one connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Calls {
    /// `http://host[:port]`.
    pub url: String,
    /// Which call.
    pub call: Call,
    /// How many of them.
    #[serde(default = "one")]
    pub calls: u32,
    /// How many of them at once.
    #[serde(default = "one")]
    pub at_once: u32,
    /// Messages of each call where there are several: sent by `Gather` and `Chat`, wanted of `Count`.
    #[serde(default)]
    pub messages: u32,
    /// Milliseconds between messages; of `Wait`, before the answer.
    #[serde(default)]
    pub ms: u32,
    /// The gRPC status that `Say` is to fail with.
    #[serde(default)]
    pub status: u32,
    /// By when the answer is wanted (`grpc-timeout`), in milliseconds. The driver only says so and leaves it to others to end the call.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// When the driver gives up on a call, in milliseconds: the stream is reset.
    #[serde(default)]
    pub cancel_ms: Option<u64>,
    /// Metadata of each call.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

impl Calls {
    /// One call.
    pub fn new(url: impl Into<String>, call: Call) -> Self {
        Calls {
            url: url.into(),
            call,
            calls: 1,
            at_once: 1,
            messages: 0,
            ms: 0,
            status: 0,
            deadline_ms: None,
            cancel_ms: None,
            metadata: BTreeMap::new(),
        }
    }
}

fn one() -> u32 {
    1
}

/// A call of the demo app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// One message each way.
    Say,
    /// One there, several back.
    Count,
    /// Several there, one back.
    Gather,
    /// Several both ways: the next is sent when the one before was answered.
    Chat,
    /// One each way, after a while.
    Wait,
}

/// What became of the calls.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Called {
    /// Calls that ended with each gRPC status; 0 is OK.
    pub codes: BTreeMap<i32, u32>,
    /// Calls that the driver gave up on.
    pub given_up: u32,
    /// Calls that each instance answered.
    pub instances: BTreeMap<String, u32>,
    /// Messages that came.
    pub messages: u64,
    /// Why the first one that failed did.
    pub error: Option<String>,
    /// Metadata of the last call's response: of its head, or of its end where it failed.
    pub metadata: BTreeMap<String, String>,
    /// The longest time that one took, in milliseconds.
    pub longest_ms: u64,
}

/// A volume of bytes to be sent over a WebSocket that sends back what it gets, without waiting for what comes back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Volume {
    /// `http://host[:port]/path`.
    pub url: String,
    /// How many bytes in all.
    pub bytes: u64,
    /// How many in a message, 1 to 1 MiB.
    pub message_bytes: usize,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
}

/// What came back of a volume.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Moved {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes that came back.
    pub received: u64,
    /// A hash over the bytes sent, in their order; and one over those that came back.
    pub sent_hash: String,
    /// See [`Self::sent_hash`].
    pub received_hash: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What went wrong.
    pub error: Option<String>,
}

/// Server-sent events to be read for a while.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listen {
    /// `http://host[:port]/path` of events with ascending `id`s.
    pub url: String,
    /// How long, in milliseconds.
    pub ms: u64,
}

/// What was heard.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Heard {
    /// The answer's status.
    pub status: Option<u16>,
    /// Who answered.
    pub instance: Option<String>,
    /// Events that came.
    pub events: u64,
    /// Ids that were left out between the first and the last, or came twice or too late.
    pub missed: u64,
    /// The longest time without an event, in milliseconds.
    pub longest_gap_ms: u64,
    /// Why it ended before its time.
    pub broken: Option<String>,
}

/// Connections to a TCP port that names itself in a line and then sends back what it gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Connections {
    /// `host:port`.
    pub address: String,
    /// How many, one after the other.
    pub connections: u32,
    /// Bytes over each, before the driver's side is closed.
    pub bytes: u64,
}

/// What became of the connections.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Connected {
    /// Connections over which everything came back and then the end.
    pub same: u32,
    /// Who answered, and how many.
    pub instances: BTreeMap<String, u32>,
    /// Why the first one that failed did.
    pub error: Option<String>,
}

/// Bytes to be sent as they are over a connection of their own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Raw {
    /// `host:port`.
    pub address: String,
    /// What is sent, one after the other.
    pub steps: Vec<Step>,
    /// How long it may take until the other side has closed, in milliseconds; what came until then is told in any case.
    pub timeout_ms: u64,
}

/// A part of what is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Text that must have come before, anywhere in what came.
    #[serde(default)]
    pub after: String,
    /// What is sent then.
    pub text: String,
}

/// What came.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Received {
    /// The first 64 KiB of it, as text.
    pub text: String,
    /// Whether the other side closed in time.
    pub closed: bool,
    /// How many of the steps were taken.
    pub steps: usize,
    /// What went wrong.
    pub error: Option<String>,
}
