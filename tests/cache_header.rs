//! Headers of cache files that an enemy wrote. A checksum stands in them, but anyone can compute it, so
//! everything behind it is checked again; within four times the header's size and 16 MiB.

use woolly::cache::{FORMAT_VERSION, Problem, inspect, layout_name};
use woolly::tensor::Element;
use xxhash_rust::xxh3::xxh3_128;

use crate::support::meter::peak_of;

const OPENING: &str = r#"{"__metadata__":{"woolly.header_xxh3":""#;

/// A whole header: `members` follow the metadata, `more` stands at its end.
fn header(more: &str, members: &str) -> Vec<u8> {
    let source = "ab".repeat(32);
    let layout = layout_name(Element::F32);
    let json = format!(
        r#"{OPENING}{}","woolly.format":"{FORMAT_VERSION}","woolly.layout":"{layout}","woolly.source_blake3":"{source}","woolly.source_bytes":"9"{more}}}{members}}}"#,
        "0".repeat(32),
    );
    sealed(json.as_bytes())
}

/// Length, JSON, spaces up to a page, and the checksum of all of it.
fn sealed(json: &[u8]) -> Vec<u8> {
    let length = (8 + json.len()).next_multiple_of(4096) - 8;
    let mut bytes = (length as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    bytes.resize(8 + length, b' ');
    let checksum = format!("{:032x}", xxh3_128(&bytes));
    let digits = 8 + OPENING.len();
    bytes[digits..digits + 32].copy_from_slice(checksum.as_bytes());
    bytes
}

/// What is said of these bytes, in the memory that is allowed.
#[track_caller]
fn inspected(bytes: &[u8]) -> Result<usize, Problem> {
    let (found, peak) = peak_of(|| inspect(bytes));
    let allowed = 4 * bytes.len() + (16 << 20);
    assert!(peak <= allowed, "{peak} bytes for {}", bytes.len());
    println!(
        "{} KiB of header take {} KiB",
        bytes.len() >> 10,
        peak >> 10
    );
    found
}

fn tensor(name: &str, shape: &str, start: u64, end: u64) -> String {
    format!(r#","{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}"#)
}

fn checksum(name: &str) -> String {
    format!(r#","xxh3.{name}":"{}""#, "0".repeat(32))
}

#[test]
fn a_sealed_header_is_read() {
    let mut bytes = header(&checksum("a"), &tensor("a", "[16]", 0, 64));
    bytes.resize(bytes.len() + 64, 1);
    assert_eq!(inspected(&bytes), Ok(1));
    assert_eq!(inspected(&header("", "")), Ok(0));
}

#[test]
fn lengths_that_no_header_has_are_refused() {
    let good = header("", "");
    for length in [
        0,
        1,
        4087,
        4089,
        (64 << 20) + 4088,
        1 << 63,
        u64::MAX,
        u64::MAX - 7,
    ] {
        let mut bytes = good.clone();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        assert_eq!(inspected(&bytes), Err(Problem::HeaderLength(length)));
    }
    let beyond = good.len() as u64 + 4096 - 8;
    let mut bytes = good.clone();
    bytes[..8].copy_from_slice(&beyond.to_le_bytes());
    assert_eq!(inspected(&bytes), Err(Problem::HeaderLength(beyond)));
    for length in 0..8 {
        assert_eq!(inspected(&good[..length]), Err(Problem::TooShort));
    }
    let expected = Problem::Length {
        found: good.len() as u64 + 1,
        expected: good.len() as u64,
    };
    assert_eq!(inspected(&[good, vec![0]].concat()), Err(expected));
}

#[test]
fn offsets_that_overflow_or_leave_the_file_are_refused() {
    let shape = |name: &str| Err(Problem::Shape(name.to_owned()));
    let one = |shape: &str, start, end| {
        inspected(&header(&checksum("a"), &tensor("a", shape, start, end)))
    };
    assert_eq!(one("[16]", 64, 0), shape("a"));
    assert_eq!(one("[16]", u64::MAX, u64::MAX), shape("a"));
    assert_eq!(one("[16]", 0, u64::MAX), shape("a"));
    assert_eq!(one("[0]", 0, 0), shape("a"));
    assert_eq!(one("[]", 0, 4), shape("a"));
    assert_eq!(one("[4611686018427387904]", 0, 0), shape("a"));
    assert_eq!(one("[4294967296,4294967296]", 0, 0), shape("a"));
    assert_eq!(one("[1152921504606846976,1,16]", 0, 0), shape("a"));
    assert_eq!(one("[1,1,1,1]", 0, 4), shape("a"));
    let elsewhere = Err(Problem::NotContiguous("a".to_owned()));
    assert_eq!(one("[16]", 64, 128), elsewhere);
    let beyond = one("[16]", 0, 64);
    assert!(matches!(beyond, Err(Problem::Length { .. })), "{beyond:?}");
    let huge = one("[1099511627776]", 0, 1 << 42);
    assert!(matches!(huge, Err(Problem::Length { .. })), "{huge:?}");
    let missing = inspected(&header("", &tensor("a", "[16]", 0, 64)));
    assert_eq!(missing, Err(Problem::MissingKey("xxh3.a".to_owned())));
}

#[test]
fn json_that_is_deep_or_of_other_types_is_refused() {
    for members in [
        format!(r#","a":{}"#, "[".repeat(100_000)),
        format!(
            r#","a":{}1{}"#,
            r#"{"x":"#.repeat(100_000),
            "}".repeat(100_000)
        ),
        tensor("a", &format!("[{}1]", "1,".repeat(1_000_000)), 0, 4),
        tensor("a", "[-1]", 0, 4),
        tensor("a", "[1.5]", 0, 4),
        tensor("a", "[18446744073709551616]", 0, 4),
        tensor("a", "\"16\"", 0, 64),
        r#","a":{"dtype":"F33","shape":[16],"data_offsets":[0,64]}"#.to_owned(),
        r#","a":{"shape":[16],"data_offsets":[0,64]}"#.to_owned(),
        r#","a":{"dtype":"F32","dtype":"F32","shape":[16],"data_offsets":[0,64]}"#.to_owned(),
        r#","a":null"#.to_owned(),
        r#","a":{}} x {"#.to_owned(),
        ",".to_owned(),
    ] {
        let found = inspected(&header("", &members));
        let shown = &members[..members.len().min(60)];
        assert!(matches!(found, Err(Problem::Json(_))), "{shown}: {found:?}");
    }
    // What nobody asks for is skipped, however deep.
    let deep = format!(
        r#","a":{{"dtype":"F32","x":{}1{},"shape":[1],"data_offsets":[0,4]}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let skipped = inspected(&header("", &deep));
    assert_eq!(skipped, Err(Problem::MissingKey("xxh3.a".to_owned())));
    let number = inspected(&header(r#","x":1"#, ""));
    assert!(matches!(number, Err(Problem::Json(_))), "{number:?}");
    let bytes = sealed(&[OPENING.as_bytes(), &[b'0'; 32], b"\",\"\xff\":\"\"}}"].concat());
    let bytes = inspected(&bytes);
    assert!(matches!(bytes, Err(Problem::Json(_))), "{bytes:?}");
}

#[test]
fn names_stand_once() {
    let twice = |name: &str| Err(Problem::DuplicateName(name.to_owned()));
    let members = tensor("a", "[16]", 0, 64) + &tensor("a", "[16]", 64, 128);
    assert_eq!(inspected(&header("", &members)), twice("a"));
    let key = r#","woolly.format":"2""#;
    assert_eq!(inspected(&header(key, "")), twice("woolly.format"));
    let again = r#","__metadata__":{}"#;
    assert_eq!(inspected(&header("", again)), twice("__metadata__"));
}

#[test]
fn a_million_members_take_memory_in_proportion() {
    let mut members = String::new();
    for number in 0..1_000_000 {
        members += &tensor(&format!("{number:x}"), "[]", 0, 0);
    }
    let refused = inspected(&header("", &members));
    assert_eq!(refused, Err(Problem::Shape("0".to_owned())));
    let pairs: String = (0..200_000)
        .map(|number| format!(r#","{number:x}":"""#))
        .collect();
    assert_eq!(inspected(&header(&pairs, "")), Ok(0));
}
