//! Streaming detokenization never shows half a character and loses none.

use proptest::prelude::*;
use woolly::text::StreamDecoder;

fn decode(chunks: &[&[u8]]) -> String {
    let mut decoder = StreamDecoder::default();
    let mut text: String = chunks.iter().map(|chunk| decoder.push(chunk)).collect();
    text.push_str(&decoder.finish());
    text
}

#[test]
fn a_character_comes_out_whole_with_its_last_byte() {
    let mut decoder = StreamDecoder::default();
    let bytes = "a🙂b".as_bytes();
    let texts: Vec<String> = bytes.iter().map(|byte| decoder.push(&[*byte])).collect();
    assert_eq!(texts, ["a", "", "", "", "🙂", "b"]);
    assert_eq!(decoder.finish(), "");
}

#[test]
fn an_unfinished_character_becomes_one_replacement_at_the_end() {
    assert_eq!(decode(&[b"ok\xF0\x9F", b"\x99"]), "ok\u{FFFD}");
    assert_eq!(decode(&[b"\xE6\x97", b"x"]), "\u{FFFD}x");
    assert_eq!(decode(&[b"\xFF\xFE"]), "\u{FFFD}\u{FFFD}");
    assert_eq!(decode(&[]), "");
}

#[test]
fn a_finished_decoder_starts_anew() {
    let mut decoder = StreamDecoder::default();
    decoder.push(b"\xE6");
    assert_eq!(decoder.finish(), "\u{FFFD}");
    assert_eq!(decoder.push(b"a"), "a");
}

/// Bytes that often begin, continue or break characters.
fn tricky_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<char>().prop_map(|c| c.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 1..4),
        prop::sample::select(vec![0xC0u8, 0xE0, 0xED, 0xA0, 0xF0, 0xF4, 0x90, 0x80, 0xBF])
            .prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_split_gives_the_text_of_all_bytes(
        bytes in tricky_bytes(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(decode(&chunks), String::from_utf8_lossy(&bytes));
    }
}
