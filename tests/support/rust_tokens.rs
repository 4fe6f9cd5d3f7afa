//! A Rust source text as identifiers and signs, without comments and literals: enough to read its paths.

/// One identifier or sign, with its line (from 1). `::` is one sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RustToken<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

pub(crate) fn tokens(source: &str) -> Vec<RustToken<'_>> {
    let (mut tokens, mut at) = (Vec::new(), 0);
    let mut line = 1;
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        let word = word_length(rest);
        let length = if let Some(length) = skipped(rest) {
            length
        } else {
            let length = match rest {
                _ if word > 0 => word,
                _ if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            tokens.push(RustToken {
                text: &rest[..length],
                line,
            });
            length
        };
        line += rest[..length].matches('\n').count();
        at += length;
    }
    tokens
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len())
}

/// The length of the blank, comment or literal that stands here.
fn skipped(text: &str) -> Option<usize> {
    let to = |end: &str| text.find(end).map_or(text.len(), |at| at + end.len());
    if text.starts_with(char::is_whitespace) {
        return Some(
            text.find(|c: char| !c.is_whitespace())
                .unwrap_or(text.len()),
        );
    }
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    // Raw literals, with their prefix: r"", br#""#, cr"". `r#name` is no literal.
    for prefix in ["r", "br", "cr"] {
        if let Some(raw) = text.strip_prefix(prefix) {
            let marks = raw.len() - raw.trim_start_matches('#').len();
            if raw[marks..].starts_with('"') {
                let end = format!("\"{}", "#".repeat(marks));
                let start = prefix.len() + marks + 1;
                let body = &text[start..];
                return Some(
                    body.find(&end)
                        .map_or(text.len(), |at| start + at + end.len()),
                );
            }
        }
    }
    for prefix in ["", "b", "c"] {
        if let Some(quoted) = text.strip_prefix(prefix) {
            if quoted.starts_with('"') {
                return Some(prefix.len() + quoted_length(quoted, '"'));
            }
            if quoted.starts_with('\'') && is_char(quoted) {
                return Some(prefix.len() + quoted_length(quoted, '\''));
            }
        }
    }
    // The life time of a borrow is not a word of interest, a label neither.
    text.starts_with('\'')
        .then(|| 1 + word_length(&text[1..]))
        .filter(|length| *length <= to("\n"))
}

/// A character literal closes after one character or after an escape.
fn is_char(text: &str) -> bool {
    let mut inside = text.chars().skip(1);
    inside.next() == Some('\\') || inside.next() == Some('\'')
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

#[test]
fn comments_and_literals_are_no_tokens() {
    let source = r####"
        // tokio
        /* unsafe /* nested */ unsafe */
        let a = "unsafe \" tokio"; let b = r#"unsafe " tokio"#; let c = b'\'';
        let d: &'static str = 'x: loop { '"' };
        fn r#use() -> crate::job { br"unsafe" }
    "####;
    let words: Vec<_> = tokens(source)
        .into_iter()
        .filter(|token| token.text.starts_with(|c: char| c.is_alphabetic()))
        .map(|token| (token.text, token.line))
        .collect();
    let expected = [
        ("let", 4),
        ("a", 4),
        ("let", 4),
        ("b", 4),
        ("let", 4),
        ("c", 4),
        ("let", 5),
        ("d", 5),
        ("str", 5),
        ("loop", 5),
        ("fn", 6),
        ("r", 6),
        ("use", 6),
        ("crate", 6),
        ("job", 6),
    ];
    assert_eq!(words, expected);
}
