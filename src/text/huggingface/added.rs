//! What the post-processor puts around a single text.

use serde_json::Value;

use crate::text::Error;

use super::file::{steps, type_of};

/// At most one token on each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Around {
    pub(super) before: Option<u32>,
    pub(super) after: Option<u32>,
}

/// Reads the post-processor; what it would add and we would not is refused.
pub(super) fn around(post_processor: Option<&Value>) -> Result<Around, Error> {
    let mut around = Around::default();
    for step in steps(post_processor, "processors") {
        let (before, after) = match type_of(step) {
            // It changes offsets only.
            "ByteLevel" => continue,
            "TemplateProcessing" => template(step).ok_or_else(unreadable)?,
            "RobertaProcessing" | "BertProcessing" => {
                let id = |key: &str| number(step.get(key)?.get(1)?);
                let id = |key| id(key).ok_or_else(unreadable);
                (vec![id("cls")?], vec![id("sep")?])
            }
            other => {
                return Err(Error::Tokenizer(format!(
                    "tokenizer.json: the post-processor {other:?} is not supported"
                )));
            }
        };
        for (side, ids) in [(&mut around.before, before), (&mut around.after, after)] {
            for id in ids {
                if side.replace(id).is_some() {
                    return Err(Error::Tokenizer(
                        "tokenizer.json: the post-processor adds more than one token on a side of a text"
                            .to_owned(),
                    ));
                }
            }
        }
    }
    Ok(around)
}

fn unreadable() -> Error {
    Error::Tokenizer("tokenizer.json: the post-processor cannot be read".to_owned())
}

fn number(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

/// Ids before and after the text in the template for one text.
fn template(step: &Value) -> Option<(Vec<u32>, Vec<u32>)> {
    let (mut before, mut after, mut seen) = (vec![], vec![], false);
    for part in step.get("single")?.as_array()? {
        if part.get("Sequence").is_some() {
            seen = true;
            continue;
        }
        let name = part.get("SpecialToken")?.get("id")?.as_str()?;
        let ids = step.get("special_tokens")?.get(name)?.get("ids")?;
        let ids = ids.as_array()?.iter().map(number);
        let side = if seen { &mut after } else { &mut before };
        side.extend(ids.collect::<Option<Vec<u32>>>()?);
    }
    Some((before, after))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_adds_what_stands_around_its_text() {
        let token = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let special = json!({
            "<s>": {"id": "<s>", "ids": [7], "tokens": ["<s>"]},
            "</s>": {"id": "</s>", "ids": [9], "tokens": ["</s>"]},
        });
        let template = |single: Value| {
            let template =
                json!({"type": "TemplateProcessing", "single": single, "special_tokens": special});
            let level = json!({"type": "ByteLevel", "trim_offsets": true});
            around(Some(
                &json!({"type": "Sequence", "processors": [level, template]}),
            ))
        };
        let both = template(json!([token("<s>"), text, token("</s>")])).unwrap();
        assert_eq!((both.before, both.after), (Some(7), Some(9)));
        assert_eq!(template(json!([text])).unwrap(), Around::default());
        for refused in [
            json!([token("<s>"), token("<s>"), text]),
            json!([token("<x>"), text]),
            json!("<s> $A"),
        ] {
            assert!(template(refused).is_err());
        }
        let roberta = json!({"type": "RobertaProcessing", "cls": ["<s>", 0], "sep": ["</s>", 2]});
        assert_eq!(around(Some(&roberta)).unwrap().after, Some(2));
        assert!(around(Some(&json!({"type": "Odd"}))).is_err());
        assert_eq!(around(None).unwrap(), Around::default());
    }
}
