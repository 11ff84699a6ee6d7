//! A connection against an endpoint that is written by hand, over loopback.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use http::{Request, Version};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::super::socket::{Slot, Stream};
use super::*;
use crate::state::EndpointStats;

/// A connection, and its other end.
async fn pair() -> (Box<Exclusive>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let stats = Arc::new(EndpointStats::new(&Arc::default()));
    stats.open_connections.fetch_add(1, Relaxed);
    let socket = Socket::new(Stream::Plain(ours.unwrap()), Slot::new(&stats, None));
    (Exclusive::new(socket), theirs.unwrap().0)
}

fn get(uri: &str) -> Parts {
    Request::get(uri).header("host", "a").body(()).unwrap().into_parts().0
}

/// Sends a request without a body and waits for the head of its response; the statuses of those before it.
async fn head(connection: &mut Exclusive, request: &Parts) -> (Result<ResponseHead, Broken>, Vec<u16>) {
    let mut told = Vec::new();
    connection.begin(request, b"", RequestBody::empty());
    let mut interim = |status: StatusCode, _| told.push(status.as_u16());
    let head = poll_fn(|cx| connection.poll_head(&request.method, &mut interim, cx)).await;
    (head, told)
}

/// The rest of a response: its data and trailers.
async fn rest(connection: &mut Exclusive, reader: &mut BodyReader) -> Result<(Vec<u8>, HeaderMap), Broken> {
    let (mut data, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = poll_fn(|cx| connection.poll_body(reader, cx)).await {
        match frame?.into_data() {
            Ok(piece) => data.extend_from_slice(&piece),
            Err(frame) => trailers = frame.into_trailers().unwrap(),
        }
    }
    Ok((data, trailers))
}

/// What came for a request of `method` that was answered with `text`, and whether the connection is good for another one.
async fn answered(method: &str, text: &str) -> (Result<(Vec<u8>, HeaderMap), Broken>, bool) {
    let (mut connection, mut server) = pair().await;
    let mut request = get("/");
    request.method = method.parse().unwrap();
    server.write_all(text.as_bytes()).await.unwrap();
    let head = match head(&mut connection, &request).await.0 {
        Ok(head) => head,
        Err(error) => return (Err(error), false),
    };
    let mut reader = BodyReader::new(head.body, &LIMITS);
    if !head.keep_alive {
        // What it had not read would make its end a reset.
        read(&mut server, format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n").len()).await;
        drop(server);
    }
    let rest = rest(&mut connection, &mut reader).await;
    (rest, connection.come_to_rest())
}

async fn read(server: &mut TcpStream, length: usize) -> String {
    let mut text = vec![0; length];
    server.read_exact(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn requests_go_one_after_the_other() {
    let (mut connection, mut server) = pair().await;
    for n in 0..3 {
        let request = get(&format!("/{n}?x"));
        let expected = format!("GET /{n}?x HTTP/1.1\r\nhost: a\r\n\r\n");
        let serve = async {
            assert_eq!(read(&mut server, expected.len()).await, expected);
            let text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n";
            for byte in text.bytes() {
                server.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let ask = async {
            let head = head(&mut connection, &request).await.0.unwrap();
            rest(&mut connection, &mut BodyReader::new(head.body, &LIMITS))
                .await
                .unwrap()
        };
        let ((data, trailers), ()) = tokio::join!(ask, serve);
        assert_eq!(
            (&*data, &trailers["x-sum"]),
            (&b"abc"[..], &HeaderValue::from_static("7"))
        );
        assert!(connection.come_to_rest() && connection.is_at_rest());
        connection.shrink();
        assert_eq!(connection.input.capacity(), 0);
    }
}

#[tokio::test]
async fn bodies_end_as_their_heads_say() {
    for (method, text, body, good) in [
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "ok", true),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok+", "ok", false),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "", true),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
            "ok",
            false,
        ),
        ("GET", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", "ok", false),
        ("GET", "HTTP/1.1 200 OK\r\n\r\nall of it", "all of it", false),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", "", true),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
            "",
            true,
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "", true),
    ] {
        let (came, is_good) = answered(method, text).await;
        assert_eq!(String::from_utf8(came.unwrap().0).unwrap(), body, "{text}");
        assert_eq!(is_good, good, "{text}");
    }
}

#[tokio::test]
async fn what_is_not_a_response_is_told_apart() {
    let many: String = (0..=limits::MAX_HEADERS).map(|n| format!("x-{n}: 1\r\n")).collect();
    for text in [
        "SSH-2.0-OpenSSH_9.9\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nx : 1\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\n{many}\r\n"),
        format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(limits::MAX_BUFFER)),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnothing\r\n".to_owned(),
    ] {
        let (came, is_good) = answered("GET", &text).await;
        assert!(matches!(came, Err(Broken::Malformed(_))), "{came:?}");
        assert!(!is_good);
    }
    let (mut connection, server) = pair().await;
    drop(server);
    assert!(matches!(
        head(&mut connection, &get("/")).await.0,
        Err(Broken::Closed | Broken::Io(_))
    ));
    assert!(!connection.has_heard());
    let (mut connection, mut server) = pair().await;
    server.write_all(b"HTTP/1.1 2").await.unwrap();
    drop(server);
    assert!(matches!(
        head(&mut connection, &get("/")).await.0,
        Err(Broken::Closed | Broken::Io(_))
    ));
    assert!(connection.has_heard());
}

#[tokio::test]
async fn informational_responses_are_told_up_to_a_bound() {
    for (count, good) in [(MAX_INTERIM, true), (MAX_INTERIM + 1, false)] {
        let (mut connection, mut server) = pair().await;
        let mut text = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(count as usize);
        text.push_str("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        server.write_all(text.as_bytes()).await.unwrap();
        let (head, told) = head(&mut connection, &get("/")).await;
        assert_eq!(told, vec![103; MAX_INTERIM as usize]);
        assert_eq!(matches!(head, Ok(head) if head.response.status() == 200), good);
        assert_eq!(connection.come_to_rest(), good);
    }
}

#[tokio::test]
async fn at_rest_it_notices_an_end_and_what_nobody_asked_for() {
    for unasked in ["", "HTTP/1.1 408 Request Timeout\r\n\r\n"] {
        let (mut connection, mut server) = pair().await;
        server
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        head(&mut connection, &get("/")).await.0.unwrap();
        assert!(connection.come_to_rest() && connection.is_at_rest());
        server.write_all(unasked.as_bytes()).await.unwrap();
        drop(server);
        // Until the runtime has heard of it.
        while connection.is_at_rest() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_comes_after_a_switch_of_protocols_belongs_to_the_other_one() {
    let (mut connection, mut server) = pair().await;
    let text = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nahead";
    server.write_all(text.as_bytes()).await.unwrap();
    let (switched, told) = head(&mut connection, &get("/")).await;
    assert_eq!((switched.unwrap().response.status().as_u16(), told), (101, vec![]));
    assert!(!connection.come_to_rest());
    let Upgraded { mut socket, ahead } = connection.into_upgraded();
    assert_eq!(&ahead[..], b"ahead");
    server.write_all(b" and later").await.unwrap();
    let mut text = [0; 10];
    socket.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b" and later");
    socket.write_all(b"back").await.unwrap();
    let request = read(&mut server, "GET / HTTP/1.1\r\nhost: a\r\n\r\nback".len()).await;
    assert!(request.ends_with("\r\n\r\nback"));
}

#[tokio::test]
async fn no_more_is_read_than_is_taken() {
    let (mut connection, mut server) = pair().await;
    const SIZE: usize = 16 << 20;
    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n");
    server.write_all(text.as_bytes()).await.unwrap();
    let head = head(&mut connection, &get("/")).await.0.unwrap();
    let mut reader = BodyReader::new(head.body, &LIMITS);
    let serve = async { server.write_all(&vec![b'x'; SIZE]).await.unwrap() };
    let take = async {
        let mut taken = 0;
        while taken < SIZE {
            let frame = poll_fn(|cx| connection.poll_body(&mut reader, cx)).await;
            let length = frame.unwrap().unwrap().into_data().unwrap().len();
            assert!(
                length <= READ_MOST && connection.input.capacity() <= READ_MOST,
                "{length}"
            );
            assert!(connection.input.is_empty(), "all that was read was given");
            taken += length;
        }
        taken
    };
    let (taken, ()) = tokio::join!(take, serve);
    assert_eq!(taken, SIZE);
    assert!(reader.is_end() && connection.come_to_rest());
}

#[tokio::test]
async fn a_body_that_is_not_there_is_told_where_one_is_expected() {
    for (method, said, expected) in [
        ("GET", None, ""),
        ("DELETE", None, ""),
        ("DELETE", Some("0"), "content-length: 0\r\n"),
        ("POST", None, "content-length: 0\r\n"),
        ("PUT", Some("0"), "content-length: 0\r\n"),
    ] {
        let (mut connection, mut server) = pair().await;
        let mut request = Request::builder()
            .method(method)
            .uri("http://a?b")
            .version(Version::HTTP_11);
        if let Some(said) = said {
            request = request.header::<HeaderName, _>(CONTENT_LENGTH, said);
        }
        let request = request.body(()).unwrap().into_parts().0;
        let expected = format!("{method} /?b HTTP/1.1\r\n{expected}\r\n");
        server
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        head(&mut connection, &request).await.0.unwrap();
        assert_eq!(read(&mut server, expected.len()).await, expected);
    }
}
