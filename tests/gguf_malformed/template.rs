//! H: class 79, chat templates: they are programs from a stranger.

use woolly::text::Error;
use woolly::weights;
use woolly::weights::dequant::TensorType;
use woolly::weights::gguf;

use super::{Cases, Outcome};
use crate::support::tiny_llama::{Raw, TinyLlama, string, strings, u32};

const CLASS: u32 = 79;
const KEY: &str = "tokenizer.chat_template";

fn file(source: impl AsRef<[u8]>) -> Vec<u8> {
    TinyLlama::new(TensorType::Q2K)
        .set(KEY, string(source))
        .bytes()
}

pub(super) fn cases() -> Cases {
    let mut cases = Cases::default();
    depth(&mut cases);
    work(&mut cases);
    size(&mut cases);
    words(&mut cases);
    cases
}

fn depth(cases: &mut Cases) {
    let too_deep = || Error::TemplateDepth { limit: 200 };
    let around = |open: &str, inside: &str, close: &str, times: usize| {
        [open.repeat(times), inside.to_owned(), close.repeat(times)].concat()
    };
    for times in [1_000, 30_000] {
        for (what, open, close) in [("parentheses", "(", ")"), ("lists", "[", "]")] {
            let source = format!("{{{{ {} }}}}", around(open, "1", close, times));
            let what = format!("{times} {what}");
            cases.add(CLASS, what, file(source), too_deep());
        }
    }
    // Chains are as deep for the compiler as they are long.
    for (what, before, link, times) in [
        ("negations", "not ", "", 15_000),
        ("signs", "-", "", 60_000),
        ("sums", "", "+1", 30_000),
        ("joined texts", "", "~1", 3_000),
        ("powers", "", "**1", 20_000),
        ("conditions in a row", "", " if 1 else 1", 5_000),
        ("filters", "", "|int", 15_000),
    ] {
        let source = format!("{{{{ {}1{} }}}}", before.repeat(times), link.repeat(times));
        cases.add(
            CLASS,
            format!("{times} {what}"),
            file(source),
            Outcome::Served,
        );
    }
    let source = format!("{{% if 0 %}}{}{{% endif %}}", "{%elif 0%}".repeat(6_000));
    cases.add(CLASS, "6,000 branches", file(source), Outcome::Served);
    for (what, open, close) in [
        ("conditions", "{% if 1 %}", "{% endif %}"),
        ("loops", "{% for i in [1] %}", "{% endfor %}"),
        ("blocks", "{% set x %}", "{% endset %}"),
    ] {
        let source = around(open, "x", close, 2_000);
        cases.add(CLASS, format!("2,000 {what}"), file(source), too_deep());
    }
    for (what, source) in [
        (
            "a macro that calls itself",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        ),
        (
            "macros that call each other",
            "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
        ),
        (
            "a recursive loop",
            "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        ),
        (
            "a namespace in itself",
            "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
        ),
        (
            "a namespace in a list in itself",
            "{% set ns = namespace(x=1) %}{% set other = ns %}{% set ns.x = [other] %}{{ ns.x }}",
        ),
        (
            "a namespace made of a namespace",
            "{% set a = namespace() %}{% set b = namespace(x={'y': a}) %}{{ b }}",
        ),
        (
            "lists in lists",
            "{% set ns = namespace(x=[]) %}{% for i in range(20000) %}{% set ns.x = [ns.x] %}\
             {% endfor %}{{ ns.x }}",
        ),
        (
            "mappings in mappings",
            "{% set ns = namespace(x=1) %}{% for i in range(20000) %}{% set ns.x = {'a': ns.x} %}\
             {% endfor %}{{ ns.x == ns.x }}",
        ),
    ] {
        cases.add(CLASS, what, file(source), too_deep());
    }
}

fn work(cases: &mut Cases) {
    let steps = || Error::TemplateSteps { limit: 750_000 };
    for (what, source) in [
        (
            "nested loops",
            "{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}\
             {% endfor %}{% endfor %}{% endfor %}",
        ),
        (
            "a text that doubles",
            "{% set ns = namespace(x='ab') %}{% for i in range(64) %}{% set ns.x = ns.x ~ ns.x %}\
             {% endfor %}",
        ),
        (
            "a sum that doubles",
            "{% set ns = namespace(x='ab') %}{% for i in range(64) %}{% set ns.x = ns.x + ns.x %}\
             {% endfor %}",
        ),
        (
            "a replacement that squares",
            "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(64) %}\
             {% set ns.x = ns.x.replace('a', ns.x) %}{% endfor %}",
        ),
        (
            "a list that doubles",
            "{% set ns = namespace(x=[1]) %}{% for i in range(64) %}\
             {% set ns.x = (ns.x + ns.x) | list %}{% endfor %}",
        ),
        (
            "a join that doubles",
            "{% set ns = namespace(x='ab') %}{% for i in range(64) %}\
             {% set ns.x = [ns.x, ns.x] | join('-') %}{% endfor %}",
        ),
        (
            "a format that grows",
            "{% set ns = namespace(x='ab') %}{% for i in range(64) %}\
             {% set ns.x = '%s%s' | format(ns.x, ns.x) %}{% endfor %}",
        ),
        ("a hundred million letters", "{% set x = 'a' * 100000000 %}"),
        ("a billion letters", "{{ 'a' * 1000000000 }}"),
        ("a wide field", "{{ '%1000000000d' | format(1) }}"),
    ] {
        cases.add(CLASS, what, file(source), steps());
    }
    let output = || Error::TemplateOutput { limit: 2 << 20 };
    for (what, source) in [
        ("three million letters", "{{ 'a' * 3000000 }}".to_owned()),
        (
            "many pieces",
            format!(
                "{{% for i in range(3000) %}}{}{{% endfor %}}",
                "x".repeat(1000)
            ),
        ),
    ] {
        cases.add(CLASS, what, file(source), output());
    }
}

fn size(cases: &mut Cases) {
    for length in [(64 << 10) + 1, 16 << 20] {
        let expected = Error::TemplateLength {
            length,
            limit: 64 << 10,
        };
        let what = format!("{length} bytes");
        cases.add(CLASS, what, file("x".repeat(length)), expected);
    }
    // As many expressions as the limit allows.
    let dense = "{{a}}".repeat((64 << 10) / 5);
    cases.add(CLASS, "13,107 expressions", file(dense), Outcome::Served);
    let dense = "{%if a%}{%endif%}".repeat((64 << 10) / 17);
    cases.add(CLASS, "3,855 conditions", file(dense), Outcome::Served);
    let list = format!("{{{{[{}]|length}}}}", "1,".repeat(30_000));
    cases.add(CLASS, "a list of 30,000", file(list), Outcome::Served);
    cases.add(CLASS, "empty", file(""), Outcome::Served);
    let expected = gguf::Error::NotUtf8 {
        place: gguf::Place::Value(KEY.to_owned()),
    };
    for bytes in [b"\xff".as_slice(), b"{{ '\xc3' }}"] {
        cases.add(CLASS, format!("{bytes:?}"), file(bytes), expected.clone());
    }
    let other = |value: Raw| TinyLlama::new(TensorType::Q2K).set(KEY, value).bytes();
    for (value, found) in [
        (u32(1), "an integer"),
        (strings(&["a"]), "an array of strings"),
    ] {
        let expected = Error::TemplateKey(weights::Error::KeyType {
            key: KEY.to_owned(),
            expected: "a string",
            found,
        });
        cases.add(CLASS, found, other(value), expected);
    }
}

fn words(cases: &mut Cases) {
    for (source, said) in [
        (
            "{% include 'chat' %}",
            "line 1: could not render include: error in \"chat\" (in chat:1)",
        ),
        (
            "{% set ns = namespace() %}{% set ns.x %}y{% endset %}",
            "can only assign to namespaces, not plain object",
        ),
        (
            "{% set m = {} %}{% set m.x = 1 %}",
            "can only assign to namespaces, not map",
        ),
        (
            "{% frobnicate %}",
            "line 1: syntax error: unknown statement frobnicate (in chat:1)",
        ),
        (
            "{{ x | frobnicate }}",
            "line 1: unknown filter: filter frobnicate is unknown (in chat:1)",
        ),
        (
            "{{ frobnicate() }}",
            "line 1: unknown function: frobnicate is unknown (in chat:1)",
        ),
        (
            "{{ messages.frobnicate() }}",
            "line 1: unknown method: sequence has no method named frobnicate (in chat:1)",
        ),
        (
            "{% for m in messages %}",
            "line 1: syntax error: unexpected end of input, expected end of block (in chat:1)",
        ),
        (
            "{{ 1 +",
            "line 1: syntax error: unexpected end of input, expected expression (in chat:1)",
        ),
        (
            "{% include 'secret' %}",
            "line 1: template not found: tried to include non-existing template 'secret' (in chat:1)",
        ),
        (
            "{% extends 'secret' %}",
            "line 1: template not found: template \"secret\" does not exist (in chat:1)",
        ),
        (
            "{% import 'secret' as s %}",
            "line 1: template not found: tried to include non-existing template 'secret' (in chat:1)",
        ),
        ("{{ range(1000000000) }}", "range has too many elements"),
        ("{{ raise_exception('no') }}", "no"),
        (
            "{{ messages.x.y }}",
            "line 1: undefined value: `messages.x` is undefined (in chat:1)",
        ),
        ("{{ 1 // 0 }}", "unable to calculate 1 // 0"),
    ] {
        cases.add(
            CLASS,
            source,
            file(source),
            Error::Template(said.to_owned()),
        );
    }
}
