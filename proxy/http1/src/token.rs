//! Tokens (RFC 9110 §5.6.2): what methods, names of headers and codings are made of.

/// Whether each byte is one of a token's.
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

pub(crate) fn is_token_byte(byte: u8) -> bool {
    // No index that a byte can be is out of range.
    TOKEN[usize::from(byte)]
}

/// How many bytes of a token `bytes` begin with.
pub(crate) fn length(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|&byte| !is_token_byte(byte))
        .unwrap_or(bytes.len())
}
