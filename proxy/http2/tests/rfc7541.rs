//! The examples of RFC 7541, Appendix C.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

#[path = "laws/text.rs"]
mod text;

use tenbin_http2::hpack::Decoder;
use text::{hex, lines};

/// Decodes blocks one after the other. After each, the table must hold `table` (newest first) and nothing else, `size` bytes of it.
fn decodes(limit: usize, blocks: &[(&str, &[&str], &[&str], usize)]) {
    for upto in 1..=blocks.len() {
        let mut decoder = Decoder::new(limit);
        let (before, last) = blocks[..upto].split_at(upto - 1);
        for (block, ..) in before {
            lines(&mut decoder, &hex(block));
        }
        let (block, fields, table, size) = last[0];
        assert_eq!(lines(&mut decoder, &hex(block)), fields, "block {upto}");

        let mut sizes = 0;
        let mut held = Vec::new();
        for index in 62.. {
            let Ok(mut fields) = text::decode(&mut decoder, &[0x80 | index]) else {
                break;
            };
            let (text, size) = fields.remove(0);
            let (name, value) = text.unwrap();
            held.push(format!("{name}: {}", String::from_utf8(value).unwrap()));
            sizes += size;
        }
        assert_eq!(held, table, "the table after block {upto}");
        assert_eq!(sizes, size, "the table's size after block {upto}");
    }
}

/// C.1: 10, 1337 and 42; the first two as table sizes, the last, with a prefix of 7 bits here, as a string's length.
#[test]
fn integers() {
    let mut decoder = Decoder::new(1337);
    assert_eq!(lines(&mut decoder, &hex("2a")), [""; 0]);
    assert_eq!(lines(&mut decoder, &hex("3f9a0a")), [""; 0]);
    let block = [&hex("0f00 2a")[..], &[b'a'; 42]].concat();
    assert_eq!(
        lines(&mut decoder, &block),
        [format!("accept-charset: {}", "a".repeat(42))]
    );
}

/// C.2
#[test]
fn representations() {
    decodes(
        4096,
        &[(
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            &["custom-key: custom-header"],
            &["custom-key: custom-header"],
            55,
        )],
    );
    decodes(
        4096,
        &[("040c 2f73 616d 706c 652f 7061 7468", &[":path: /sample/path"], &[], 0)],
    );
    decodes(
        4096,
        &[(
            "1008 7061 7373 776f 7264 0673 6563 7265 74",
            &["password: secret"],
            &[],
            0,
        )],
    );
    decodes(4096, &[("82", &[":method: GET"], &[], 0)]);
}

/// C.3 and C.4: the same requests, without and with Huffman.
#[test]
fn requests() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let huffman = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for [one, two, three] in [plain, huffman] {
        decodes(
            4096,
            &[
                (
                    one,
                    &[
                        ":method: GET",
                        ":scheme: http",
                        ":path: /",
                        ":authority: www.example.com",
                    ],
                    &[":authority: www.example.com"],
                    57,
                ),
                (
                    two,
                    &[
                        ":method: GET",
                        ":scheme: http",
                        ":path: /",
                        ":authority: www.example.com",
                        "cache-control: no-cache",
                    ],
                    &["cache-control: no-cache", ":authority: www.example.com"],
                    110,
                ),
                (
                    three,
                    &[
                        ":method: GET",
                        ":scheme: https",
                        ":path: /index.html",
                        ":authority: www.example.com",
                        "custom-key: custom-value",
                    ],
                    &[
                        "custom-key: custom-value",
                        "cache-control: no-cache",
                        ":authority: www.example.com",
                    ],
                    164,
                ),
            ],
        );
    }
}

/// C.5 and C.6: the same responses, without and with Huffman; the table is of 256 bytes, so that entries go.
#[test]
fn responses() {
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d \
         546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f \
         6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b \
         2076 6572 7369 6f6e 3d31",
    ];
    let huffman = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 \
         8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 \
         dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    let (date, later) = (
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
    );
    let location = "location: https://www.example.com";
    let cookie = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    for [one, two, three] in [plain, huffman] {
        decodes(
            256,
            &[
                (
                    one,
                    &[":status: 302", "cache-control: private", date, location],
                    &[location, date, "cache-control: private", ":status: 302"],
                    222,
                ),
                (
                    two,
                    &[":status: 307", "cache-control: private", date, location],
                    &[":status: 307", location, date, "cache-control: private"],
                    222,
                ),
                (
                    three,
                    &[
                        ":status: 200",
                        "cache-control: private",
                        later,
                        location,
                        "content-encoding: gzip",
                        cookie,
                    ],
                    &[cookie, "content-encoding: gzip", later],
                    215,
                ),
            ],
        );
    }
}
