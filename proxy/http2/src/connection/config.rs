//! What a connection is allowed to take and to hold. How long anything may take is not here: nothing in this crate knows a clock.

/// The limits of a connection. Those that the peer has to know are told in the first SETTINGS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// As a server: streams that the peer may have open at a time; those beyond are refused. As a client: streams that may be begun before
    /// the peer's SETTINGS told what it takes.
    pub max_streams: u32,
    /// Bytes of one stream's body that the peer may send ahead of what was released; at most 2^31 - 1.
    pub stream_window: u32,
    /// Bytes of all bodies together that the peer may send ahead of what was released; at most 2^31 - 1. No less than 65,535, which every
    /// connection begins with.
    pub connection_window: u32,
    /// Bytes of a message's head, or of its trailers, as RFC 9113 §6.5.2 counts them: names, values, and 32 for each field. A request beyond
    /// is handed out as [`TooLarge`](super::Event::TooLarge), of anything else the stream is reset.
    pub header_list: u32,
    /// The same for the number of fields, without pseudo-headers.
    pub headers: usize,
    /// Bytes that may wait to be written before [`send_data`](super::Connection::send_data) takes nothing more.
    pub output: usize,
    /// Streams that may be reset for errors of the peer (malformed, refused above `max_streams`, more than the window ...) before the
    /// connection ends with ENHANCE_YOUR_CALM. Each that we end after the peer has makes up for one.
    pub max_resets: u32,
    /// Whether a server offers extended CONNECT (RFC 8441).
    pub connect_protocol: bool,
}

impl Default for Config {
    /// 100 streams, windows of 64 KiB and 1 MiB, heads of 16 KiB and 100 fields, 64 KiB of output, 1024 resets, no extended CONNECT.
    fn default() -> Config {
        Config {
            max_streams: 100,
            stream_window: 64 << 10,
            connection_window: 1 << 20,
            header_list: 16 << 10,
            headers: 100,
            output: 64 << 10,
            max_resets: 1024,
            connect_protocol: false,
        }
    }
}
