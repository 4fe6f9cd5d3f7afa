//! Built-in chat templates, by name: for models whose file has none, or a broken one.
//!
//! A uniform table. The forms are those that the models were trained with, as in llama.cpp's list.

/// `<|im_start|>role`, the content and `<|im_end|>` on lines: what most open models use.
pub(super) const CHATML: &str = "{% for message in messages %}\
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const LLAMA3: &str = "{% for message in messages %}\
{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' \
+ message['content'] | trim + '<|eot_id|>' }}\
{% endfor %}{% if add_generation_prompt %}\
{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}";

/// Gemma knows no system role: its text opens the first turn.
const GEMMA: &str = "{% set ns = namespace(system='') %}{% for message in messages %}\
{% if message['role'] == 'system' %}\
{% set ns.system = ns.system + message['content'] | trim + '\\n\\n' %}{% else %}\
{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' \
+ ns.system + message['content'] | trim + '<end_of_turn>\\n' }}{% set ns.system = '' %}\
{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}";

const PHI3: &str = "{% for message in messages %}\
{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}";

const ZEPHYR: &str = "{% for message in messages %}\
{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}";

const TABLE: &[(&str, &str)] = &[
    ("chatml", CHATML),
    ("llama3", LLAMA3),
    ("gemma", GEMMA),
    ("phi3", PHI3),
    ("zephyr", ZEPHYR),
];

/// The source of the template with this name.
pub(super) fn find(name: &str) -> Option<&'static str> {
    TABLE
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, source)| *source)
}

/// Every known name, for error sentences.
pub(super) fn names() -> String {
    TABLE
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(", ")
}
