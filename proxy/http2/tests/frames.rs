//! Each kind of frame, good and wrong, and how each is written.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod laws;

use bytes::{Bytes, BytesMut};
use laws::build::frame;
use tenbin_http2::frame::{self, Frame, Settings, Wrong};
use tenbin_http2::{Error, Reason};

/// The one frame of `wire`, however it comes in pieces, which must not come before its last byte.
fn one(wire: &[u8]) -> Result<Frame, Wrong> {
    laws::frames(wire);
    if wire.len() <= 64 {
        for at in 0..wire.len() {
            let outcome = laws::read(&wire[..at], &[usize::MAX], laws::MAX);
            assert!(outcome.frames.iter().all(Result::is_err), "a frame of {at} bytes");
        }
    }
    let mut outcome = laws::read(wire, &[usize::MAX], laws::MAX);
    assert_eq!(outcome.frames.len(), 1, "{wire:?}");
    outcome.frames.remove(0)
}

fn connection_error(wire: &[u8], expected: Reason) {
    match one(wire) {
        Err(Wrong::Connection(Error { reason, .. })) => assert_eq!(reason, expected, "{wire:?}"),
        other => panic!("{wire:?}: {other:?}"),
    }
}

#[test]
fn data() {
    let data = |text: &'static [u8], flow, end| {
        Ok(Frame::Data {
            stream: 1,
            data: Bytes::from_static(text),
            flow,
            end,
        })
    };
    assert_eq!(one(&frame(0, 0, 1, b"hello")), data(b"hello", 5, false));
    assert_eq!(one(&frame(0, 1, 1, b"hello")), data(b"hello", 5, true));
    assert_eq!(one(&frame(0, 1, 1, b"")), data(b"", 0, true));
    assert_eq!(one(&frame(0, 8, 1, b"\x03hello\0\0\0")), data(b"hello", 9, false));
    assert_eq!(one(&frame(0, 9, 1, b"\0hello")), data(b"hello", 6, true));
    assert_eq!(one(&frame(0, 8, 1, b"\x02\0\0")), data(b"", 3, false));
    assert_eq!(one(&frame(0, 8, 1, b"\0")), data(b"", 1, false));
    // Flags that DATA has not, and the reserved bit of the stream, are ignored.
    assert_eq!(one(&frame(0, 0xf6, 1 | 1 << 31, b"hello")), data(b"hello", 5, false));
    connection_error(&frame(0, 0, 0, b"hello"), Reason::PROTOCOL_ERROR);
    connection_error(&frame(0, 0, 1 << 31, b"hello"), Reason::PROTOCOL_ERROR);
    connection_error(&frame(0, 8, 1, b"\x06hello"), Reason::PROTOCOL_ERROR);
    connection_error(&frame(0, 8, 1, b"\x01"), Reason::PROTOCOL_ERROR);
    connection_error(&frame(0, 8, 1, b""), Reason::FRAME_SIZE_ERROR);
}

#[test]
fn headers() {
    let headers = |block: &'static [u8], end, end_headers, depends_on| {
        let block = Bytes::from_static(block);
        Ok(Frame::Headers {
            stream: 1,
            block,
            end,
            end_headers,
            depends_on,
        })
    };
    assert_eq!(one(&frame(1, 4, 1, b"\x82")), headers(b"\x82", false, true, None));
    assert_eq!(one(&frame(1, 5, 1, b"\x82")), headers(b"\x82", true, true, None));
    assert_eq!(one(&frame(1, 1, 1, b"")), headers(b"", true, false, None));
    assert_eq!(
        one(&frame(1, 0xc, 1, b"\x02\x82\0\0")),
        headers(b"\x82", false, true, None)
    );
    assert_eq!(
        one(&frame(1, 0x24, 1, b"\0\0\0\x03\x10\x82")),
        headers(b"\x82", false, true, Some(3))
    );
    assert_eq!(
        one(&frame(1, 0x24, 1, b"\x80\0\0\x01\x10")),
        headers(b"", false, true, Some(1))
    );
    assert_eq!(
        one(&frame(1, 0x2c, 1, b"\x01\x80\0\0\x03\x10\x82\0")),
        headers(b"\x82", false, true, Some(3))
    );
    connection_error(&frame(1, 4, 0, b"\x82"), Reason::PROTOCOL_ERROR);
    connection_error(&frame(1, 0xc, 1, b"\x02\x82"), Reason::PROTOCOL_ERROR);
    connection_error(&frame(1, 0xc, 1, b""), Reason::FRAME_SIZE_ERROR);
    for length in 0..5 {
        connection_error(&frame(1, 0x24, 1, &[0; 5][..length]), Reason::FRAME_SIZE_ERROR);
    }
    // Priority, and then no room for it once the padding is off.
    connection_error(&frame(1, 0x2c, 1, b"\x02\0\0\0\x03\x10\0"), Reason::FRAME_SIZE_ERROR);
}

#[test]
fn continuation() {
    let more = |end_headers| Frame::Continuation {
        stream: 1,
        block: Bytes::from_static(b"\x82"),
        end_headers,
    };
    assert_eq!(one(&frame(9, 0, 1, b"\x82")), Ok(more(false)));
    // There is no padding here.
    assert_eq!(one(&frame(9, 0xc, 1, b"\x82")), Ok(more(true)));
    connection_error(&frame(9, 4, 0, b"\x82"), Reason::PROTOCOL_ERROR);
}

#[test]
fn priority() {
    assert_eq!(
        one(&frame(2, 0, 3, b"\x80\0\0\x01\x10")),
        Ok(Frame::Priority {
            stream: 3,
            depends_on: 1
        })
    );
    assert_eq!(
        one(&frame(2, 0, 3, b"\0\0\0\x03\x10")),
        Ok(Frame::Priority {
            stream: 3,
            depends_on: 3
        })
    );
    connection_error(&frame(2, 0, 0, b"\0\0\0\x01\x10"), Reason::PROTOCOL_ERROR);
    for length in [0, 4, 6] {
        match one(&frame(2, 0, 3, &[0; 6][..length])) {
            Err(Wrong::Stream { stream: 3, error }) => assert_eq!(error.reason, Reason::FRAME_SIZE_ERROR),
            other => panic!("{other:?}"),
        }
    }
    // What follows is read.
    let wire = [frame(2, 0, 3, b""), frame(6, 0, 0, b"12345678")].concat();
    let outcome = laws::read(&wire, &[1], laws::MAX);
    assert_eq!((outcome.frames.len(), outcome.left), (2, 0));
    assert_eq!(
        outcome.frames[1],
        Ok(Frame::Ping {
            ack: false,
            payload: *b"12345678"
        })
    );
}

#[test]
fn reset() {
    let reset = |reason| Ok(Frame::Reset { stream: 1, reason });
    assert_eq!(one(&frame(3, 0xff, 1, b"\0\0\0\x08")), reset(Reason::CANCEL));
    assert_eq!(one(&frame(3, 0, 1, b"\xff\xff\xff\xff")), reset(Reason(u32::MAX)));
    connection_error(&frame(3, 0, 0, b"\0\0\0\x08"), Reason::PROTOCOL_ERROR);
    for length in [0, 3, 5] {
        connection_error(&frame(3, 0, 1, &[0; 5][..length]), Reason::FRAME_SIZE_ERROR);
    }
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

#[test]
fn settings() {
    let none = Settings::default();
    assert_eq!(
        one(&frame(4, 0, 0, b"")),
        Ok(Frame::Settings {
            ack: false,
            settings: none
        })
    );
    assert_eq!(
        one(&frame(4, 1, 0, b"")),
        Ok(Frame::Settings {
            ack: true,
            settings: none
        })
    );
    let entries = [
        (1, 0),
        (2, 0),
        (3, 100),
        (4, 0x7fff_ffff),
        (5, 0x00ff_ffff),
        (6, 9),
        (8, 1),
        (7, 7),
        (0xabcd, 1),
        (1, 5),
    ];
    let payload: Vec<u8> = entries.iter().flat_map(|&(id, value)| setting(id, value)).collect();
    let settings = Settings {
        header_table_size: Some(5),
        enable_push: Some(false),
        max_concurrent_streams: Some(100),
        initial_window_size: Some(0x7fff_ffff),
        max_frame_size: Some(0x00ff_ffff),
        max_header_list_size: Some(9),
        enable_connect_protocol: Some(true),
    };
    assert_eq!(
        one(&frame(4, 0xfe, 0, &payload)),
        Ok(Frame::Settings { ack: false, settings })
    );
    let mut out = BytesMut::new();
    frame::put_settings(&mut out, &settings);
    let payload: Vec<u8> = [(1, 5)]
        .iter()
        .chain(&entries[1..7])
        .flat_map(|&(id, value)| setting(id, value))
        .collect();
    assert_eq!(out, frame(4, 0, 0, &payload));

    for (id, value) in [
        (5, 16_384),
        (4, 0),
        (3, 0),
        (2, 1),
        (8, 0),
        (1, u32::MAX),
        (6, u32::MAX),
        (3, u32::MAX),
    ] {
        one(&frame(4, 0, 0, &setting(id, value))).unwrap();
    }
    for (id, value) in [(2, 2), (2, u32::MAX), (5, 16_383), (5, 1 << 24), (5, 0), (8, 2)] {
        connection_error(&frame(4, 0, 0, &setting(id, value)), Reason::PROTOCOL_ERROR);
    }
    for value in [1 << 31, u32::MAX] {
        connection_error(&frame(4, 0, 0, &setting(4, value)), Reason::FLOW_CONTROL_ERROR);
    }
    connection_error(&frame(4, 0, 1, b""), Reason::PROTOCOL_ERROR);
    connection_error(&frame(4, 1, 0, &setting(1, 1)), Reason::FRAME_SIZE_ERROR);
    for length in [1, 5, 7] {
        connection_error(&frame(4, 0, 0, &[0; 7][..length]), Reason::FRAME_SIZE_ERROR);
    }
}

#[test]
fn ping_and_go_away() {
    assert_eq!(
        one(&frame(6, 0xfe, 0, b"12345678")),
        Ok(Frame::Ping {
            ack: false,
            payload: *b"12345678"
        })
    );
    assert_eq!(
        one(&frame(6, 1, 0, b"12345678")),
        Ok(Frame::Ping {
            ack: true,
            payload: *b"12345678"
        })
    );
    connection_error(&frame(6, 0, 1, b"12345678"), Reason::PROTOCOL_ERROR);
    for length in [0, 7, 9] {
        connection_error(&frame(6, 0, 0, &[0; 9][..length]), Reason::FRAME_SIZE_ERROR);
    }
    let go_away = |last, reason| Ok(Frame::GoAway { last, reason });
    assert_eq!(
        one(&frame(7, 0, 0, b"\xff\xff\xff\xff\0\0\0\x0b")),
        go_away(0x7fff_ffff, Reason::ENHANCE_YOUR_CALM)
    );
    assert_eq!(
        one(&frame(7, 0, 0, b"\0\0\0\x05\0\0\0\0too many")),
        go_away(5, Reason::NO_ERROR)
    );
    connection_error(&frame(7, 0, 1, &[0; 8]), Reason::PROTOCOL_ERROR);
    for length in [0, 7] {
        connection_error(&frame(7, 0, 0, &[0; 8][..length]), Reason::FRAME_SIZE_ERROR);
    }
}

#[test]
fn window_update() {
    let update = |stream, increment| Ok(Frame::WindowUpdate { stream, increment });
    assert_eq!(one(&frame(8, 0, 0, b"\xff\xff\xff\xff")), update(0, 0x7fff_ffff));
    assert_eq!(one(&frame(8, 0, 7, b"\x80\0\0\0")), update(7, 0));
    for length in [0, 3, 5] {
        connection_error(&frame(8, 0, 1, &[0; 5][..length]), Reason::FRAME_SIZE_ERROR);
    }
}

#[test]
fn others() {
    for stream in [0, 1] {
        assert_eq!(one(&frame(5, 4, stream, b"")), Ok(Frame::PushPromise { stream }));
        assert_eq!(one(&frame(5, 8, stream, b"\xffabc")), Ok(Frame::PushPromise { stream }));
        for kind in [10, 16, 255] {
            assert_eq!(
                one(&frame(kind, 0xff, stream, b"abc")),
                Ok(Frame::Unknown {
                    kind,
                    stream,
                    length: 3
                })
            );
        }
    }
}

/// Whatever its kind, a frame of 16384 bytes is taken; of a longer one nothing but the head is waited for.
#[test]
fn too_long() {
    assert!(matches!(
        one(&frame(0, 0, 1, &[0; 16_384])),
        Ok(Frame::Data { flow: 16_384, .. })
    ));
    for kind in 0..12 {
        for length in [&[0, 0x40, 1][..], &[0xff; 3]] {
            let head = [length, &[kind, 0, 0, 0, 0, 1]].concat();
            connection_error(&head, Reason::FRAME_SIZE_ERROR);
            let outcome = laws::read(&head[..8], &[8], laws::MAX);
            assert_eq!((outcome.frames.len(), outcome.left), (0, 8));
        }
    }
}

/// A block that is longer than a frame goes on in CONTINUATIONs, and END_STREAM stays with the first.
#[test]
fn long_blocks() {
    let block: Vec<u8> = (0..=255).cycle().take(100).collect();
    for (max, lengths) in [
        (100, &[100][..]),
        (99, &[99, 1]),
        (50, &[50, 50]),
        (30, &[30, 30, 30, 10]),
        (1000, &[100]),
    ] {
        for end in [false, true] {
            let mut out = BytesMut::from(&frame(6, 0, 0, b"12345678")[..]);
            frame::put_headers(&mut out, 5, end, max, |out| out.extend_from_slice(&block));
            let mut expected = frame(6, 0, 0, b"12345678");
            let mut rest = &block[..];
            for (at, &length) in lengths.iter().enumerate() {
                let (part, after) = rest.split_at(length);
                rest = after;
                let (kind, flags) = if at == 0 { (1, u8::from(end)) } else { (9, 0) };
                let flags = flags | if rest.is_empty() { 4 } else { 0 };
                expected.extend(frame(kind, flags, 5, part));
            }
            assert_eq!(out, expected, "frames of at most {max}");
        }
    }
    let mut out = BytesMut::new();
    frame::put_headers(&mut out, 5, true, 10, |_| ());
    assert_eq!(out, frame(1, 5, 5, b""));
}

#[test]
fn written() {
    let written = |put: &dyn Fn(&mut BytesMut)| {
        let mut out = BytesMut::new();
        put(&mut out);
        out
    };
    assert_eq!(
        written(&|out| frame::put_head(out, 0x01_02_03, 0xab, 0xcd, 0x7fff_fffe)),
        [1, 2, 3, 0xab, 0xcd, 0x7f, 0xff, 0xff, 0xfe][..]
    );
    assert_eq!(
        written(&|out| frame::put_data_head(out, 1, 3, true)),
        frame(0, 1, 1, b"abc")[..9]
    );
    assert_eq!(
        written(&|out| frame::put_data_head(out, 1, 3, false)),
        frame(0, 0, 1, b"abc")[..9]
    );
    assert_eq!(
        written(&|out| frame::put_reset(out, 9, Reason::CANCEL)),
        frame(3, 0, 9, &[0, 0, 0, 8])
    );
    assert_eq!(written(&frame::put_settings_ack), frame(4, 1, 0, b""));
    assert_eq!(
        written(&|out| frame::put_ping(out, false, *b"12345678")),
        frame(6, 0, 0, b"12345678")
    );
    assert_eq!(
        written(&|out| frame::put_ping(out, true, *b"12345678")),
        frame(6, 1, 0, b"12345678")
    );
    assert_eq!(
        written(&|out| frame::put_go_away(out, 5, Reason::NO_ERROR)),
        frame(7, 0, 0, &[0, 0, 0, 5, 0, 0, 0, 0])
    );
    assert_eq!(
        written(&|out| frame::put_window_update(out, 0, 65_536)),
        frame(8, 0, 0, &[0, 1, 0, 0])
    );
}
