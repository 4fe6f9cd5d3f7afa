//! All keys and what their values must be: the one table behind "unknown key" and "expected".

/// `table.key` and the expected value in words.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) expected: &'static str,
}

const fn key(name: &'static str, expected: &'static str) -> Key {
    Key { name, expected }
}

const SECONDS: &str = r#"seconds from 1 up, or a text such as "30s", "15m", "12h" or "7d""#;
const BYTES: &str = r#"a number of bytes, or a text such as "512MiB" or "2GiB""#;

pub(super) const KEYS: &[Key] = &[
    key("daemon.socket", "a path"),
    key(
        "daemon.socket_mode",
        r#"an octal mode as text, such as "0660""#,
    ),
    key("daemon.state_dir", "a path"),
    key(
        "daemon.drain_timeout_s",
        "a whole number of seconds from 0 to 86400",
    ),
    key("daemon.admin_uids", "a list of user ids"),
    key("model.name", "a text that is not empty"),
    key("model.source", r#""gguf", "safetensors" or "synthetic""#),
    key("model.path", "the path of a GGUF file or a model folder"),
    key("model.context_length", "a whole number from 1 to 16777216"),
    key(
        "model.chat_template",
        "a Jinja template as text, or the name of a built-in one",
    ),
    key(
        "model.max_tokens",
        "a whole number from 0 up, or { completions = N, chat = N }",
    ),
    key("model.max_tokens.completions", "a whole number from 0 up"),
    key("model.max_tokens.chat", "a whole number from 0 up"),
    key("synthetic.preset", r#""tiny", "135m", "1b" or "llama-7b""#),
    key("synthetic.vocab_size", "a whole number from 258 to 4194304"),
    key("synthetic.hidden_size", "a whole number from 2 to 65536"),
    key("synthetic.num_layers", "a whole number from 1 to 1024"),
    key("synthetic.num_heads", "a whole number from 1 to 1024"),
    key("synthetic.num_kv_heads", "a whole number from 1 to 1024"),
    key(
        "synthetic.context_length",
        "a whole number from 1 to 16777216",
    ),
    key(
        "synthetic.intermediate_size",
        "a whole number from 1 to 1048576",
    ),
    key("synthetic.tied", "true or false"),
    key("synthetic.norm", r#""rms" or "layer""#),
    key("synthetic.seed", "a whole number from 0 up"),
    key("synthetic.persist", "true or false"),
    key("cache.dir", "a path"),
    key("cache.max_bytes", BYTES),
    key("cache.verify", r#""background", "full" or "header""#),
    key("compute.weights", r#""f32" or "bf16""#),
    key("compute.kv", r#""f32" or "bf16""#),
    key(
        "compute.isa",
        r#""auto", "portable", "avx2", "avx512" or "neon""#,
    ),
    key("workers.count", "a whole number from 1 up"),
    key("workers.threads_per_worker", "a whole number from 1 up"),
    key("workers.slots", "a whole number from 1 to 1024"),
    key("workers.prefill_chunk", "a whole number from 1 to 8192"),
    key("workers.speculation", "true or false"),
    key("workers.kv_bytes", BYTES),
    key("queue.max_jobs", "a whole number from 1 up"),
    key("queue.max_jobs_per_user", "a whole number from 1 up"),
    key("queue.max_bytes", BYTES),
    key("queue.max_bytes_per_user", BYTES),
    key("queue.retention", SECONDS),
    key("queue.poison_limit", "a whole number from 0 to 100"),
    key("queue.checkpoint_tokens", "a whole number from 0 up"),
    key("queue.reuse", "true or false"),
    key("spool.dir", "a path"),
    key("api.max_body_bytes", BYTES),
    key("api.max_file_bytes", BYTES),
    key(
        "log.level",
        r#""off", "error", "warn", "info", "debug" or "trace", also per module as in "info,woolly::queue=debug""#,
    ),
    key("log.format", r#""text" or "json""#),
];

/// What the value of `name` must be; tables are told apart from keys.
pub(super) fn expected(name: &str) -> &'static str {
    KEYS.iter()
        .find(|key| key.name == name)
        .map_or("a table", |key| key.expected)
}

/// Whether `name` is a key, a table of keys, or neither.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Key,
    Table,
    Unknown,
}

pub(super) fn kind(name: &str) -> Kind {
    let within = |key: &Key| {
        key.name
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    if KEYS.iter().any(|key| key.name == name) {
        Kind::Key
    } else if KEYS.iter().any(within) {
        Kind::Table
    } else {
        Kind::Unknown
    }
}

/// Whether the value of `name` may be a table with keys of its own.
pub(super) fn has_children(name: &str) -> bool {
    let within = |key: &Key| {
        key.name
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    KEYS.iter().any(within)
}

/// The known key (or table, for an unknown table) that looks most like `name`. A key of the same table
/// wins over an equally similar one elsewhere.
pub(super) fn nearest(name: &str, is_table: bool) -> String {
    if is_table && !name.contains('.') {
        let tables = KEYS.iter().filter_map(|key| key.name.split('.').next());
        let best = tables.max_by(|a, b| similarity(name, a).total_cmp(&similarity(name, b)));
        return best.map(|table| format!("[{table}]")).unwrap_or_default();
    }
    let score = |key: &Key| {
        let (table, last) = name.rsplit_once('.').unwrap_or(("", name));
        let (known_table, known_last) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        similarity(last, known_last) + if table == known_table { 0.2 } else { 0.0 }
    };
    let best = KEYS.iter().max_by(|a, b| score(a).total_cmp(&score(b)));
    best.map(|key| key.name.to_owned()).unwrap_or_default()
}

fn similarity(a: &str, b: &str) -> f64 {
    strsim::jaro_winkler(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_in_the_same_table_if_it_can_be() {
        assert_eq!(
            nearest("workers.thread", false),
            "workers.threads_per_worker"
        );
        assert_eq!(nearest("workers.slot", false), "workers.slots");
        assert_eq!(nearest("daemon.slots", false), "workers.slots");
        assert_eq!(
            nearest("model.contextlength", false),
            "model.context_length"
        );
        assert_eq!(
            nearest("synthetic.contextlength", false),
            "synthetic.context_length"
        );
        assert_eq!(nearest("socket", false), "daemon.socket");
        assert_eq!(nearest("worker", true), "[workers]");
    }

    #[test]
    fn tables_are_told_from_keys() {
        assert_eq!(kind("workers"), Kind::Table);
        assert_eq!(kind("workers.count"), Kind::Key);
        assert_eq!(kind("work"), Kind::Unknown);
        assert_eq!(kind("model.max_tokens"), Kind::Key);
        assert!(has_children("model.max_tokens"));
        assert!(!has_children("model.name"));
    }
}
