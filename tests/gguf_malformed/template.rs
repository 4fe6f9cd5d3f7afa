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
    for times in [1_000, 50_000] {
        for (what, open, inside, close) in [
            ("parentheses", "(", "1", ")"),
            ("lists", "[", "1", "]"),
            ("negations", "not ", "1", ""),
            ("signs", "-", "1", ""),
        ] {
            let source = format!("{{{{ {} }}}}", around(open, inside, close, times));
            let what = format!("{times} {what}");
            cases.add(CLASS, what, file(source), too_deep());
        }
    }
    for (what, open, close) in [
        ("conditions", "{% if 1 %}", "{% endif %}"),
        ("loops", "{% for i in [1] %}", "{% endfor %}"),
        ("blocks", "{% set x %}", "{% endset %}"),
    ] {
        let source = around(open, "x", close, 5_000);
        cases.add(CLASS, format!("5,000 {what}"), file(source), too_deep());
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
        ("a template that includes itself", "{% include 'chat' %}"),
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
    for length in [(256 << 10) + 1, 16 << 20] {
        let expected = Error::TemplateLength {
            length,
            limit: 256 << 10,
        };
        let what = format!("{length} bytes");
        cases.add(CLASS, what, file("x".repeat(length)), expected);
    }
    // As many expressions as the limit allows.
    let dense = "{{a}}".repeat((256 << 10) / 5);
    cases.add(CLASS, "52,428 expressions", file(dense), Outcome::Served);
    let dense = "{%if a%}{%endif%}".repeat((256 << 10) / 17);
    cases.add(CLASS, "15,420 conditions", file(dense), Outcome::Served);
    let list = format!("{{{{[{}]|length}}}}", "1,".repeat(100_000));
    cases.add(CLASS, "a list of 100,000", file(list), Outcome::Served);
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
        ("{% frobnicate %}", ""),
        ("{{ x | frobnicate }}", ""),
        ("{{ frobnicate() }}", ""),
        ("{{ messages.frobnicate() }}", ""),
        ("{% for m in messages %}", ""),
        ("{{ 1 +", ""),
        ("{% include 'secret' %}", ""),
        ("{% extends 'secret' %}", ""),
        ("{% import 'secret' as s %}", ""),
        ("{{ range(1000000000) }}", ""),
        ("{{ 'a' * 1000000000 }}", ""),
        ("{{ raise_exception('no') }}", ""),
        ("{{ messages.x.y }}", ""),
        ("{{ 1 // 0 }}", ""),
    ] {
        cases.add(
            CLASS,
            source,
            file(source),
            Error::Template(said.to_owned()),
        );
    }
}
