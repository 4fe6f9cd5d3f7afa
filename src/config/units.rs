//! Durations and sizes with units: `"7d"`, `"512MiB"`, and back.

use super::file::NumberOrText;

const SECONDS: &[(&str, u64)] = &[("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
const BYTES: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Seconds of `30`, `"30s"`, `"15m"`, `"12h"`, `"7d"`.
pub(super) fn seconds(value: &NumberOrText) -> Option<u64> {
    number(value, SECONDS)
}

/// Bytes of `1024`, `"1KiB"`, `"512MiB"`, `"2GiB"`.
pub(super) fn bytes(value: &NumberOrText) -> Option<u64> {
    number(value, BYTES)
}

pub(super) fn seconds_to_text(seconds: u64) -> String {
    to_text(seconds, SECONDS)
}

pub(super) fn bytes_to_text(bytes: u64) -> String {
    to_text(bytes, BYTES)
}

/// A duration on a command line, in seconds: `30s`, `7d`, or a plain number of seconds.
pub fn seconds_of(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| text_number(text, SECONDS))
}

/// A size on a command line, in bytes: `512MiB`, `10GiB`, or a plain number of bytes.
pub fn bytes_of(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| text_number(text, BYTES))
}

fn number(value: &NumberOrText, units: &[(&str, u64)]) -> Option<u64> {
    match value {
        NumberOrText::Number(number) => Some(*number),
        NumberOrText::Text(text) => text_number(text, units),
    }
}

fn text_number(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// In the largest unit that gives a whole number.
fn to_text(number: u64, units: &[(&str, u64)]) -> String {
    let whole = units
        .iter()
        .find(|(_, factor)| number > 0 && number.is_multiple_of(*factor));
    let (unit, factor) = whole.or(units.last()).copied().unwrap_or(("", 1));
    format!("{}{unit}", number / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> NumberOrText {
        NumberOrText::Text(text.to_owned())
    }

    #[test]
    fn units_are_read() {
        assert_eq!(seconds(&NumberOrText::Number(90)), Some(90));
        assert_eq!(seconds(&text("7d")), Some(604_800));
        assert_eq!(seconds(&text("15 m")), Some(900));
        assert_eq!(bytes(&text("2GiB")), Some(2 << 30));
        assert_eq!(bytes(&text("0B")), Some(0));
    }

    #[test]
    fn a_command_line_may_leave_the_unit_out() {
        assert_eq!(
            (seconds_of("90"), seconds_of("30d")),
            (Some(90), Some(2_592_000))
        );
        assert_eq!(
            (bytes_of("0"), bytes_of("10GiB")),
            (Some(0), Some(10 << 30))
        );
        assert_eq!((seconds_of("1.5h"), bytes_of("1GB")), (None, None));
    }

    #[test]
    fn anything_else_is_not() {
        for wrong in [
            "",
            "7",
            "d",
            "-1s",
            "1.5h",
            "7 weeks",
            "1GB",
            "99999999999999999999s",
        ] {
            assert_eq!(seconds(&text(wrong)), None, "{wrong}");
            assert_eq!(bytes(&text(wrong)), None, "{wrong}");
        }
        assert_eq!(bytes(&text("17179869184GiB")), None, "2^64 bytes");
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_reads_back(number: u64) {
            proptest::prop_assert_eq!(seconds(&text(&seconds_to_text(number))), Some(number));
            proptest::prop_assert_eq!(bytes(&text(&bytes_to_text(number))), Some(number));
        }
    }
}
