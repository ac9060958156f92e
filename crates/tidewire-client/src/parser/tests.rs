//! The parser against the standard's cases, a reference of a few lines, and every cut.

use proptest::prelude::*;

use super::*;

const BYTES_MAX: usize = 1_000;

/// Reads a stream that comes in these parts: its frames, and the error that ended it.
fn read<'a>(
    reading: Reading,
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<RawFrame>, Option<ParseError>, Parser) {
    let mut parser = Parser::new(reading, BYTES_MAX);
    let mut frames = Vec::new();
    for part in parts {
        parser.push(part);
        loop {
            match parser.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error), parser),
            }
        }
    }
    (frames, None, parser)
}

fn frame(event_type: &str, data: &str, last_event_id: &str) -> RawFrame {
    RawFrame {
        event_type: event_type.into(),
        data: data.into(),
        last_event_id: last_event_id.into(),
    }
}

#[test]
fn reads_what_the_standard_says() {
    let message = |data: &str| frame("message", data, "");
    let cases: &[(&str, &[u8], &[RawFrame])] = &[
        ("one line", b"data: a\n\n", &[message("a")]),
        ("no space", b"data:a\n\n", &[message("a")]),
        ("one space is cut, not two", b"data:  a \n\n", &[message(" a ")]),
        ("a tab is no space", b"data:\ta\n\n", &[message("\ta")]),
        ("several lines", b"data: a\ndata\ndata: b\n\n", &[message("a\n\nb")]),
        (
            "empty data is an event, two empty lines a line feed",
            b"data:\n\ndata\ndata\n\ndata:test\n\n",
            &[message(""), message("\n"), message("test")],
        ),
        ("no data, no event", b"event: x\n\nid: 1\n\nretry: 5\n\n\n\n:\n\n", &[]),
        ("an unterminated frame is dropped", b"data: a\n\ndata: b\n", &[message("a")]),
        ("an unterminated line is dropped", b"data: a\n\ndata: b", &[message("a")]),
        ("CR", b"data: a\rdata: b\r\r", &[message("a\nb")]),
        ("CRLF", b"data: a\r\ndata: b\r\n\r\n", &[message("a\nb")]),
        (
            "all line ends",
            b"data: a\n\r\ndata: b\r\n\rdata: c\r\r\n",
            &[message("a"), message("b"), message("c")],
        ),
        (
            "LF after CR ends one line only",
            b"data: a\r\n\ndata: b\n\n",
            &[message("a"), message("b")],
        ),
        ("a byte order mark", b"\xef\xbb\xbfdata: a\n\n", &[message("a")]),
        (
            "two byte order marks",
            b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n",
            &[message("b")],
        ),
        ("a late byte order mark", b"data: a\n\n\xef\xbb\xbfdata: b\n\n", &[message("a")]),
        ("comments", b":\n: data: x\ndata: a\n:data: y\ndata: b\n\n", &[message("a\nb")]),
        (
            "field names to the letter",
            b"Data: x\ndata : x\n data: x\ndatas: x\ndata: a\n\n",
            &[message("a")],
        ),
        ("unknown fields", b"data: a\nfoo: b\nfoo\n\n", &[message("a")]),
        (
            "the last event field counts",
            b"event: a\nevent: b\ndata: x\n\ndata: y\n\n",
            &[frame("b", "x", ""), message("y")],
        ),
        ("an empty event is a message", b"event: a\nevent:\ndata: x\n\n", &[message("x")]),
        ("a colon in a value", b"data: a:b: c\n\n", &[message("a:b: c")]),
        ("NUL in data stays", b"data: a\0b\n\n", &[message("a\0b")]),
        (
            "not UTF-8",
            b"data: \xe2\x82\ndata: \xac\xff\n\n",
            &[message("\u{fffd}\n\u{fffd}\u{fffd}")],
        ),
        (
            "ids stay until another comes",
            b"id: 1\ndata: a\n\ndata: b\n\nid: 2\n\ndata: c\n\nid\ndata: d\n\n",
            &[
                frame("message", "a", "1"),
                frame("message", "b", "1"),
                frame("message", "c", "2"),
                message("d"),
            ],
        ),
        (
            "an id with NUL is ignored",
            b"id: 1\nid: 2\0x\ndata: a\n\n",
            &[frame("message", "a", "1")],
        ),
    ];
    for (name, bytes, expected) in cases {
        let (frames, error, _) = read(Reading::Lenient, [*bytes]);
        assert_eq!((frames.as_slice(), error), (*expected, None), "{name}");
        let (frames, error, _) = read(Reading::Lenient, bytes.chunks(1));
        assert_eq!((frames.as_slice(), error), (*expected, None), "{name}, byte by byte");
    }
}

#[test]
fn an_id_counts_once_its_frame_is_whole() {
    let (_, _, mut parser) = read(Reading::Lenient, [&b"id: 1\ndata: a\n\nid: 2\ndata: b\n"[..]]);
    assert_eq!(parser.last_event_id(), "1");
    parser.push(b"\n");
    parser.next_frame().unwrap().unwrap();
    assert_eq!(parser.last_event_id(), "2");
}

#[test]
fn a_retry_counts_at_once_and_is_a_number() {
    for (bytes, expected) in [
        (&b"retry: 1500\n"[..], Some(1_500)),
        (b"retry:7\n\n", Some(7)),
        (b"retry: 1\nretry: 2\n", Some(2)),
        (b"retry: 1\nretry: 2x\nretry: -3\nretry: +4\nretry: 5.0\nretry:\nretry\n", Some(1)),
        (b"retry: 99999999999999999999\n", None),
        (b"data: a\n\n", None),
    ] {
        let (_, _, parser) = read(Reading::Lenient, [bytes]);
        assert_eq!(parser.retry(), expected.map(Duration::from_millis), "{bytes:?}");
    }
}

#[test]
fn a_frame_too_large_is_an_error_and_never_held() {
    let too_large = Some(ParseError::TooLarge { bytes_max: BYTES_MAX });
    let endless = vec![b'x'; 10 * BYTES_MAX];
    let many_lines = b"data: xxxx\n".repeat(BYTES_MAX);
    for stream in [&endless, &many_lines] {
        let mut held_max = 0;
        let mut parser = Parser::new(Reading::Lenient, BYTES_MAX);
        let error = stream.chunks(100).find_map(|part| {
            parser.push(part);
            held_max = held_max.max(parser.buffer.len() + parser.block.data.len());
            parser.next_frame().err()
        });
        assert_eq!(error, too_large);
        assert!(held_max <= BYTES_MAX + 100, "held {held_max} bytes");
    }
    let fits = [&b"data:"[..], &vec![b'x'; BYTES_MAX - 5], b"\n\n"].concat();
    assert_eq!(read(Reading::Lenient, [&fits[..]]).1, None);
    assert_eq!(read(Reading::Lenient, [&fits.repeat(3)[..]]).0.len(), 3, "each frame by itself");
}

const HELLO: &str = "event: tidewire.hello\nid: 5f3a91c2-1\nretry: 2417\ndata: {}\n\n";

#[test]
fn the_strict_reading_takes_what_tidewire_promises() {
    for stream in [
        HELLO,
        ":\n:\nid: 5f3a91c2-2\nevent: price\ndata: {\"bid\":10.2}\n\n:\n",
        "id: 5f3a91c2-2\ndata: a\ndata: \ndata:\ndata:  \u{feff}b\n\n",
        "id: 5f3a91c2-2\ndata:\ndata:\n\n",
        "event: tidewire.cursor\nid: 5f3a91c2-2\ndata: {}\n\n",
        "event: tidewire.retry\nretry: 7\ndata: {\"reason\":\"draining\"}\n\n",
    ] {
        let (frames, error, _) = read(Reading::Strict, [stream.as_bytes()]);
        assert_eq!(error, None, "{stream:?}");
        assert_eq!(frames, read(Reading::Lenient, [stream.as_bytes()]).0);
        assert!(!frames.is_empty());
    }
}

#[test]
fn the_strict_reading_refuses_everything_else() {
    for (stream, line, reason) in [
        ("\u{feff}data: a", 1, "byte order mark"),
        ("id: 5f3a91c2-2\r\ndata: a\n\n", 1, "carriage return"),
        ("id: 5f3a91c2-2\ndata: a\rb\n\n", 2, "carriage return"),
        ("id: 5f3a91c2-2\ndata: a\0b\n\n", 2, "NUL"),
        ("id: 5f3a91c2-2\ndata\n\n", 2, "without a colon"),
        ("id: 5f3a91c2-2\nfoo: x\n", 2, "unknown field"),
        ("retry: 5\n\n", 2, "without data"),
        ("id: 5f3a91c2-2\n\n", 2, "without data"),
        ("id: 5f3a91c2-2\ndata:\n\n", 3, "empty data"),
        ("id: 5f3a91c2-2\ndata: \n\n", 3, "empty data"),
        ("data: a\n\n", 2, "without an id"),
        ("event: tidewire.cursor\ndata: {}\n\n", 3, "without an id"),
        ("id: 7\ndata: a\n\n", 1, "no cursor"),
        ("id:\ndata: a\n\n", 1, "no cursor"),
        ("id: 5f3a91c2-2\nid: 5f3a91c2-2\n", 2, "second id"),
        ("event: a\nevent: a\n", 2, "second event"),
        ("retry: 1\nretry: 1\n", 2, "second retry"),
        ("retry: 1s\n", 1, "no number"),
        ("retry:\n", 1, "no number"),
        ("event: a b\n", 1, "no event type"),
        ("event:\n", 1, "no event type"),
        (":\n\n", 2, "blank"),
        ("\n", 1, "blank"),
        (": ping\n", 1, "comment with text"),
        ("id: 5f3a91c2-2\n:\ndata: a\n\n", 2, "within a frame"),
    ] {
        let (frames, error, _) = read(Reading::Strict, [stream.as_bytes()]);
        let Some(ParseError::Broken { line: at, reason: why }) = error else {
            panic!("{stream:?} was taken: {frames:?}");
        };
        assert!(at == line && why.contains(reason), "{stream:?}: line {at} {why}");
    }
    let not_text = b"id: 5f3a91c2-2\ndata: \xff\n\n";
    let (_, error, _) = read(Reading::Strict, [&not_text[..]]);
    assert_eq!(error, Some(ParseError::Broken { line: 2, reason: "is not UTF-8" }));
}

/// The standard again, over a whole stream at once, as plainly as it can be said.
fn reference(stream: &[u8]) -> Vec<RawFrame> {
    let text = String::from_utf8_lossy(stream).into_owned();
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut frames, mut data, mut event_type, mut id) =
        (Vec::new(), None::<String>, String::new(), String::new());
    let Some((lines, _unterminated)) = text.rsplit_once('\n') else { return frames };
    for line in lines.split('\n') {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" if line.is_empty() => {
                let event_type = mem::take(&mut event_type);
                let event_type = if event_type.is_empty() { "message" } else { &event_type };
                frames.extend(data.take().map(|data| frame(event_type, &data, &id)));
            }
            "data" => {
                data =
                    Some(data.map_or_else(|| value.to_owned(), |data| format!("{data}\n{value}")));
            }
            "event" => event_type = value.to_owned(),
            "id" if !value.contains('\0') => id = value.to_owned(),
            _ => {}
        }
    }
    frames
}

/// Streams that are often nearly right: whole frames, their pieces, and any bytes.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            &b"data: a"[..], b"data", b"id: 5f3a91c2-7", b"id: \0", b"event: x", b"retry: 9",
            b": c", b":", b"\n", b"\n", b"\n\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"\xe2\x82", b" ",
            b"id: 5f3a91c2-9\ndata: whole\n\n",
        ]).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// The parts between cuts at these places.
fn cut(stream: &[u8], mut at: Vec<usize>) -> Vec<&[u8]> {
    at.iter_mut().for_each(|place| *place %= stream.len() + 1);
    at.extend([0, stream.len()]);
    at.sort_unstable();
    at.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect()
}

proptest! {
    #[test]
    fn agrees_with_the_reference(stream in streams()) {
        prop_assert_eq!(read(Reading::Lenient, [&stream[..]]).0, reference(&stream));
    }

    #[test]
    fn reads_the_same_wherever_it_is_cut(
        stream in streams(),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        for reading in [Reading::Lenient, Reading::Strict] {
            let (frames, error, parser) = read(reading, [&stream[..]]);
            let (cut_frames, cut_error, cut_parser) = read(reading, cut(&stream, cuts.clone()));
            prop_assert_eq!((frames, error), (cut_frames, cut_error));
            prop_assert_eq!(parser.last_event_id(), cut_parser.last_event_id());
            prop_assert_eq!(parser.retry(), cut_parser.retry());
        }
    }

    #[test]
    fn what_the_strict_reading_takes_the_lenient_one_reads_alike(stream in streams()) {
        let (strict, _, _) = read(Reading::Strict, [&stream[..]]);
        let (lenient, _, _) = read(Reading::Lenient, [&stream[..]]);
        prop_assert_eq!(&lenient[..strict.len()], &strict[..]);
    }
}
