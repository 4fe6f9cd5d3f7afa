//! Control tokens inside message content stay text.
//!
//! A message may contain `<|im_end|>` and the like. Before rendering, every such text in a message is
//! broken by a sentinel: a noncharacter (U+FDD0 to U+FDEF) that no message and no template contains.
//! What the rendered text then still holds of control tokens comes from the template alone. There the
//! text is cut, the sentinels are dropped, and the pieces are encoded without parsing control tokens.
//!
//! The last characters of a content may also complete a control token together with the template's
//! text, so such a content gets a sentinel at that end too. Roles do not: templates build control
//! tokens around them (`<|` + role + `|>`), so the caller restricts the roles it accepts.

use super::{Error, Message, Tokenizer};

/// A character that stands in none of the texts.
pub(super) fn choose_sentinel<'a>(texts: impl Iterator<Item = &'a str> + Clone) -> Option<char> {
    ('\u{FDD0}'..='\u{FDEF}').find(|sentinel| !texts.clone().any(|text| text.contains(*sentinel)))
}

/// The messages with every control token broken; `None` when there is nothing to break.
pub(super) fn protect(
    tokenizer: &Tokenizer,
    messages: &[Message],
    sentinel: char,
) -> Option<Vec<Message>> {
    let protected: Vec<Message> = messages
        .iter()
        .map(|message| Message {
            role: break_inside(tokenizer, &message.role, sentinel),
            content: guard_ends(
                tokenizer,
                break_inside(tokenizer, &message.content, sentinel),
                sentinel,
            ),
        })
        .collect();
    (protected != messages).then_some(protected)
}

/// Puts the sentinel behind the first character of every control token. Again, until none is left,
/// because breaking one may lay open another that it overlapped.
fn break_inside(tokenizer: &Tokenizer, text: &str, sentinel: char) -> String {
    let mut text = text.to_owned();
    loop {
        let spans = live_spans(tokenizer, &text, sentinel);
        if spans.is_empty() {
            return text;
        }
        let mut broken = String::with_capacity(text.len() + spans.len() * sentinel.len_utf8());
        let mut done = 0;
        for (start, _, _) in spans {
            let first = text[start..].chars().next().map_or(0, char::len_utf8);
            broken.push_str(&text[done..start + first]);
            broken.push(sentinel);
            done = start + first;
        }
        broken.push_str(&text[done..]);
        text = broken;
    }
}

/// Control tokens as (start, end, id). One of a single character cannot be broken inside; the
/// sentinel behind it marks it as text.
fn live_spans(tokenizer: &Tokenizer, text: &str, sentinel: char) -> Vec<(usize, usize, u32)> {
    let mut spans = Vec::new();
    for (range, id) in tokenizer.control_spans(text) {
        let single = text[range.clone()].chars().count() == 1;
        if !(single && text[range.end..].starts_with(sentinel)) {
            spans.push((range.start, range.end, id));
        }
    }
    spans
}

/// Adds the sentinel where the text ends like the beginning of a control token, or begins like the
/// end of one.
fn guard_ends(tokenizer: &Tokenizer, mut text: String, sentinel: char) -> String {
    let mut opens = false;
    let mut closes = false;
    for name in tokenizer.control_names() {
        for (cut, _) in name.char_indices().skip(1) {
            opens = opens || text.ends_with(&name[..cut]);
            closes = closes || text.starts_with(&name[cut..]);
        }
    }
    if opens {
        text.push(sentinel);
    }
    if closes {
        text.insert(0, sentinel);
    }
    text
}

/// The tokens of a rendered text: control tokens that no sentinel breaks, and everything else as text.
pub(super) fn encode(
    tokenizer: &Tokenizer,
    rendered: &str,
    sentinel: char,
) -> Result<Vec<u32>, Error> {
    let mut ids = Vec::new();
    let mut done = 0;
    let plain = |text: &str| tokenizer.encode(&text.replace(sentinel, ""), false, false);
    for (start, end, id) in live_spans(tokenizer, rendered, sentinel) {
        ids.extend(plain(&rendered[done..start])?);
        ids.push(id);
        done = end;
    }
    ids.extend(plain(&rendered[done..])?);
    Ok(ids)
}
