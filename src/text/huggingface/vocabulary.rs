//! Entries by id, and what each is for.

use crate::text::Error;
use crate::text::vocabulary::{Kind, Roles, Vocabulary};

use super::file::File;

/// More entries than any model has; ids come from a file and decide how much memory is taken.
const MOST: u32 = 4 << 20;

/// Some models have control tokens that are not marked as such. llama.cpp's converter finds them by their
/// text, and so do we, because text of a user must not become one.
fn looks_special(entry: &str) -> bool {
    let within = |open, close| entry.starts_with(open) && entry.ends_with(close);
    ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&entry)
        || within("<|", "|>")
        || within("<｜", "｜>")
        || within("<unused", ">")
}

/// Every entry of the model and every added token. Ids that have no entry get a name that is no text.
pub(super) fn entries(file: &File) -> Result<Vocabulary, Error> {
    let wrong = |problem: String| Err(Error::Tokenizer(format!("tokenizer.json: {problem}")));
    let added = || file.added_tokens.iter();
    let ids = file.model.vocab.values().copied();
    let Some(last) = ids.chain(added().map(|token| token.id)).max() else {
        return wrong("its vocabulary is empty".to_owned());
    };
    if last >= MOST {
        return wrong(format!("it has the id {last}; ids below {MOST} are read"));
    }
    let size = last as usize + 1;
    let mut names: Vec<Option<&str>> = vec![None; size];
    let mut kinds = vec![Kind::Undefined; size];
    let named = file
        .model
        .vocab
        .iter()
        .map(|(name, id)| (name, *id, Kind::Normal));
    let found = added().map(|token| {
        let control = token.special || looks_special(&token.content);
        let kind = if control {
            Kind::Control
        } else {
            Kind::UserDefined
        };
        (&token.content, token.id, kind)
    });
    for (name, id, kind) in named.chain(found) {
        let at = id as usize;
        match names[at].replace(name) {
            // An added token may stand in the model's vocabulary too.
            Some(earlier) if earlier != name || kind == Kind::Normal => {
                return wrong(format!(
                    "the id {id} has two entries, {earlier:?} and {name:?}"
                ));
            }
            _ => kinds[at] = kind,
        }
    }
    if let Some(unknown) = &file.model.unk_token
        && !file.model.vocab.contains_key(unknown)
    {
        return wrong(format!(
            "model.unk_token {unknown:?} is not in the vocabulary"
        ));
    }
    let name = |(id, name): (usize, Option<&str>)| match name {
        Some("") => format!("[EMPTY_{id}]"),
        Some(name) => name.to_owned(),
        None => format!("[PAD{id}]"),
    };
    Ok(Vocabulary {
        names: names.into_iter().enumerate().map(name).collect(),
        kinds,
        roles: Roles::default(),
    })
}
