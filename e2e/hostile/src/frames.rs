//! HTTP/2 by hand: frames as they are on the wire, header blocks without compression, and as much reading as it takes to see what
//! became of a stream. Whoever calls this writes the bytes by hand: lengths are taken as they are given.

/// What each connection begins with (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A kind of frame: RFC 9113 §6.1.
pub const DATA: u8 = 0;
/// A kind of frame: RFC 9113 §6.2.
pub const HEADERS: u8 = 1;
/// A kind of frame: RFC 9113 §6.3.
pub const PRIORITY: u8 = 2;
/// A kind of frame: RFC 9113 §6.4.
pub const RST_STREAM: u8 = 3;
/// A kind of frame: RFC 9113 §6.5.
pub const SETTINGS: u8 = 4;
/// A kind of frame: RFC 9113 §6.7.
pub const PING: u8 = 6;
/// A kind of frame: RFC 9113 §6.8.
pub const GOAWAY: u8 = 7;
/// A kind of frame: RFC 9113 §6.9.
pub const WINDOW_UPDATE: u8 = 8;
/// A kind of frame: RFC 9113 §6.10.
pub const CONTINUATION: u8 = 9;

/// A flag: nothing more comes on the stream.
pub const END_STREAM: u8 = 1;
/// A flag: the header block is whole.
pub const END_HEADERS: u8 = 4;

/// The largest frame that a peer takes unless it says otherwise.
const MAX_FRAME: usize = 16 << 10;

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    // Frames have 24 bits for their length.
    let [.., a, b, c] = payload.len().to_be_bytes();
    [&[a, b, c, kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// The beginning of a connection, with these settings.
pub fn begin(settings: &[(u16, u32)]) -> Vec<u8> {
    let settings: Vec<u8> = settings
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    [PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()
}

/// A header block: each field as a literal that is not indexed.
pub fn block(fields: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_bytes(), value] {
            integer(&mut block, text.len());
            block.extend(text);
        }
    }
    block
}

/// A length with a prefix of 7 bits (RFC 7541 §5.1).
fn integer(block: &mut Vec<u8>, mut n: usize) {
    if n < 127 {
        return block.push(n as u8);
    }
    block.push(127);
    n -= 127;
    while n >= 128 {
        block.push((n % 128) as u8 | 128);
        n /= 128;
    }
    block.push(n as u8);
}

/// A header block in as many frames as it takes.
pub fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    let mut pieces = block.chunks(MAX_FRAME).peekable();
    let mut frames = Vec::new();
    let mut kind = (HEADERS, flags);
    while let Some(piece) = pieces.next() {
        let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        frames.extend(frame(kind.0, kind.1 | end, stream, piece));
        kind = (CONTINUATION, 0);
    }
    frames
}

/// A whole GET of `path`.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, END_STREAM, &block(&fields("GET", path)))
}

/// The fields of a good request.
pub fn fields(method: &str, path: &str) -> Vec<(String, Vec<u8>)> {
    let fields = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a"),
    ];
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
        .collect()
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its kind, as [`DATA`].
    pub kind: u8,
    /// Its flags, as [`END_STREAM`].
    pub flags: u8,
    /// The stream that it is about; 0 for the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// Takes a frame off the front of `bytes`.
pub fn next(bytes: &mut Vec<u8>) -> Option<Frame> {
    let [a, b, c, kind, flags, stream @ ..] = *bytes.first_chunk::<9>()?;
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    let payload = bytes.get(9..9 + length)?.to_vec();
    bytes.drain(..9 + length);
    Some(Frame {
        kind,
        flags,
        stream: u32::from_be_bytes(stream),
        payload,
    })
}

/// The status of a response's header block, which is its first field: one of the static table, or a literal with that table's name, of
/// digits with or without Huffman's code (RFC 7541, appendices A and B). A change of the table's size may stand before it.
pub fn status(block: &[u8]) -> Option<u16> {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match block {
        [0x20..=0x3f, rest @ ..] => status(rest),
        [first @ 0x88..=0x8e, ..] => INDEXED.get(usize::from(first - 0x88)).copied(),
        // An incremental literal, and the two kinds that are not indexed: the name is number 8 of the static table.
        [0x48 | 0x08 | 0x18, length, value @ ..] => {
            let value = value.get(..usize::from(length & 0x7f))?;
            if length & 0x80 == 0 {
                std::str::from_utf8(value).ok()?.parse().ok()
            } else {
                digits(value)
            }
        }
        _ => None,
    }
}

/// Three digits in Huffman's code: 0 to 2 have 5 bits, the others 6.
fn digits(value: &[u8]) -> Option<u16> {
    let bits: String = value.iter().map(|byte| format!("{byte:08b}")).collect();
    let mut bits = bits.as_str();
    let mut number = 0;
    for _ in 0..3 {
        let five = u16::from_str_radix(bits.get(..5)?, 2).ok()?;
        let (digit, length) = match five {
            0..=2 => (five, 5),
            _ => (
                u16::from_str_radix(bits.get(..6)?, 2).ok()?.checked_sub(0b01_1001)? + 3,
                6,
            ),
        };
        number = number * 10 + digit;
        bits = bits.get(length..)?;
    }
    Some(number)
}

#[test]
fn statuses_are_read() {
    assert_eq!(status(&[0x8c]), Some(400));
    assert_eq!(status(&[0x20, 0x88, 0]), Some(200));
    assert_eq!(status(&[0x48, 3, b'4', b'3', b'1']), Some(431));
    // RFC 7541, C.6.1: 302.
    assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), Some(302));
    assert_eq!(status(&[]), None);
}
