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

/// A turn is a question with its answer; what the system says opens the first.
const LLAMA2: &str = "{% set ns = namespace(open=true) %}{{ '[INST] ' }}{% for message in messages %}\
{% if not ns.open %}{% set ns.open = true %}{{ '[INST] ' }}{% endif %}\
{% if message['role'] == 'system' %}{{ '<<SYS>>\n' + message['content'] + '\n<</SYS>>\n\n' }}\
{% elif message['role'] == 'user' %}{{ message['content'] + ' [/INST]' }}\
{% else %}{{ message['content'] + '</s>' }}{% set ns.open = false %}{% endif %}{% endfor %}";

const MISTRAL_V1: &str = "{% set ns = namespace(open=false) %}{% for message in messages %}\
{% if not ns.open %}{% set ns.open = true %}{{ ' [INST] ' }}{% endif %}\
{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}\
{% elif message['role'] == 'user' %}{{ message['content'] + ' [/INST]' }}\
{% else %}{{ ' ' + message['content'] + '</s>' }}{% set ns.open = false %}{% endif %}{% endfor %}";

const MISTRAL_V3: &str = "{% set ns = namespace(open=false) %}{% for message in messages %}\
{% if not ns.open %}{% set ns.open = true %}{{ '[INST] ' }}{% endif %}\
{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}\
{% elif message['role'] == 'user' %}{{ message['content'] + '[/INST]' }}\
{% else %}{{ ' ' + message['content'] | trim + '</s>' }}{% set ns.open = false %}{% endif %}{% endfor %}";

const MISTRAL_V3_TEKKEN: &str = "{% set ns = namespace(open=false) %}{% for message in messages %}\
{% if not ns.open %}{% set ns.open = true %}{{ '[INST]' }}{% endif %}\
{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}\
{% elif message['role'] == 'user' %}{{ message['content'] + '[/INST]' }}\
{% else %}{{ message['content'] + '</s>' }}{% set ns.open = false %}{% endif %}{% endfor %}";

const MISTRAL_V7: &str = "{% for message in messages %}\
{% if message['role'] == 'system' %}{{ '[SYSTEM_PROMPT] ' + message['content'] + '[/SYSTEM_PROMPT]' }}\
{% elif message['role'] == 'user' %}{{ '[INST] ' + message['content'] + '[/INST]' }}\
{% else %}{{ ' ' + message['content'] + '</s>' }}{% endif %}{% endfor %}";

const PHI4: &str = "{% for message in messages %}\
{{ '<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] + '<|im_end|>' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}";

const FALCON3: &str = "{% for message in messages %}\
{{ '<|' + message['role'] + '|>\n' + message['content'] + '\n' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}";

const COMMAND_R: &str = "{% for message in messages %}\
{% set name = {'system': 'SYSTEM', 'user': 'USER'}[message['role']] | default('CHATBOT') %}\
{{ '<|START_OF_TURN_TOKEN|><|' + name + '_TOKEN|>' + message['content'] | trim + '<|END_OF_TURN_TOKEN|>' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}";

const GRANITE: &str = "{% for message in messages %}\
{{ '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content'] + '<|end_of_text|>\n' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}";

const VICUNA: &str = "{% for message in messages %}\
{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}\
{% elif message['role'] == 'user' %}{{ 'USER: ' + message['content'] + '\n' }}\
{% else %}{{ 'ASSISTANT: ' + message['content'] + '</s>\n' }}{% endif %}\
{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}";

const OPENCHAT: &str = "{% for message in messages %}\
{% if message['role'] != 'system' %}{{ 'GPT4 Correct ' + message['role'] | capitalize + ': ' }}{% endif %}\
{{ message['content'] + '<|end_of_turn|>' }}\
{% endfor %}{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}";

const DEEPSEEK3: &str = "{% for message in messages %}\
{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}\
{% elif message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}\
{% else %}{{ '<｜Assistant｜>' + message['content'] + '<｜end▁of▁sentence｜>' }}{% endif %}\
{% endfor %}{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}";

const EXAONE3: &str = "{% for message in messages %}\
{% if message['role'] == 'user' %}{{ '[|user|]' + message['content'] | trim + '\n' }}\
{% else %}{{ '[|' + message['role'] + '|]' + message['content'] | trim + '[|endofturn|]\n' }}{% endif %}\
{% endfor %}{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}";

const TABLE: &[(&str, &str)] = &[
    ("chatml", CHATML),
    ("llama2", LLAMA2),
    ("llama3", LLAMA3),
    ("mistral-v1", MISTRAL_V1),
    ("mistral-v3", MISTRAL_V3),
    ("mistral-v3-tekken", MISTRAL_V3_TEKKEN),
    ("mistral-v7", MISTRAL_V7),
    ("gemma", GEMMA),
    ("phi3", PHI3),
    ("phi4", PHI4),
    ("falcon3", FALCON3),
    ("command-r", COMMAND_R),
    ("granite", GRANITE),
    ("zephyr", ZEPHYR),
    ("vicuna", VICUNA),
    ("openchat", OPENCHAT),
    ("deepseek3", DEEPSEEK3),
    ("exaone3", EXAONE3),
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
