//! From what was written to what it means: every value checked, every default filled in.

use std::path::{Path, PathBuf};

use crate::tensor::{Element, Elements};

use super::defaults;
use super::environment::Environment;
use super::error::Error;
use super::file::{self, File, MaxTokens};
use super::keys::expected;
use super::outline::Outline;
use super::resolved::{
    Api, Cache, Compute, Config, Daemon, IsaChoice, Log, LogFormat, Model, ModelSource, Queue,
    Spool, Verify, Workers,
};
use super::{synthetic, units};

/// The kernel shows unmapped users as this one: whoever has it is nobody in particular.
pub const OVERFLOW_UID: u32 = 65_534;

/// Largest context any part is prepared for.
pub(super) const CONTEXT_LIMIT: usize = 1 << 24;

/// Checks `file`; relative paths are relative to `base`. Errors take their lines from `outline`.
pub(super) fn resolve(
    file: File,
    outline: &Outline,
    base: &Path,
    environment: &Environment,
) -> Result<Config, Error> {
    Ok(Config {
        daemon: daemon(file.daemon, outline, base, environment)?,
        model: model(file.model, file.synthetic, outline, base)?,
        cache: cache(file.cache, outline, base, environment)?,
        compute: compute(&file.compute, outline)?,
        workers: workers(&file.workers, outline, environment.cpus)?,
        queue: queue(&file.queue, outline)?,
        spool: Spool {
            dir: path(file.spool.dir, "spool.dir", outline, base)?,
        },
        api: api(&file.api, outline)?,
        log: log(file.log, outline)?,
    })
}

fn daemon(
    file: file::Daemon,
    outline: &Outline,
    base: &Path,
    environment: &Environment,
) -> Result<Daemon, Error> {
    let bad = |key: &str| outline.value(key, expected(key));
    let socket_mode = match file.socket_mode.as_deref() {
        None => defaults::SOCKET_MODE,
        Some(text) => octal_mode(text).ok_or_else(|| bad("daemon.socket_mode"))?,
    };
    let drain_timeout_s = file.drain_timeout_s.unwrap_or(defaults::DRAIN_TIMEOUT_S);
    if drain_timeout_s > 86_400 {
        return Err(bad("daemon.drain_timeout_s"));
    }
    let admin_uids = file.admin_uids.unwrap_or_default();
    if admin_uids.contains(&OVERFLOW_UID) {
        let expected =
            format!("user ids without {OVERFLOW_UID}, which stands for every unknown user");
        return Err(outline.value("daemon.admin_uids", expected));
    }
    Ok(Daemon {
        socket: path(file.socket, "daemon.socket", outline, base)?
            .unwrap_or_else(|| environment.socket.clone()),
        socket_mode,
        state_dir: path(file.state_dir, "daemon.state_dir", outline, base)?
            .unwrap_or_else(|| environment.state_dir.clone()),
        drain_timeout_s,
        admin_uids,
    })
}

fn cache(
    file: file::Cache,
    outline: &Outline,
    base: &Path,
    environment: &Environment,
) -> Result<Cache, Error> {
    let bad = |key: &str| outline.value(key, expected(key));
    let verify = file.verify.as_deref().unwrap_or(defaults::VERIFY);
    Ok(Cache {
        dir: path(file.dir, "cache.dir", outline, base)?
            .unwrap_or_else(|| environment.cache_dir.clone()),
        max_bytes: some_bytes(file.max_bytes.as_ref(), "cache.max_bytes", outline)?,
        verify: Verify::by_name(verify).ok_or_else(|| bad("cache.verify"))?,
    })
}

fn model(
    file: Option<file::Model>,
    synthetic: Option<file::Synthetic>,
    outline: &Outline,
    base: &Path,
) -> Result<Option<Model>, Error> {
    let bad = |key: &str| outline.value(key, expected(key));
    let no_effect =
        |key: &str, why: &str| outline.structure(key, format!("{key} has no effect {why}"));
    let Some(file) = file else {
        return match synthetic {
            Some(_) => Err(no_effect(
                "synthetic",
                "without a [model] with source = \"synthetic\"",
            )),
            None => Ok(None),
        };
    };

    let source = match file.source.as_deref().unwrap_or(defaults::MODEL_SOURCE) {
        "gguf" | "safetensors" if synthetic.is_some() => {
            return Err(no_effect(
                "synthetic",
                "unless model.source is \"synthetic\"",
            ));
        }
        word @ ("gguf" | "safetensors") => match path(file.path, "model.path", outline, base)? {
            Some(path) if word == "safetensors" => ModelSource::Safetensors(path),
            Some(path) => ModelSource::at(path),
            None => return Err(outline.value("model.path", expected("model.path"))),
        },
        "synthetic" if file.path.is_some() => {
            return Err(no_effect(
                "model.path",
                "while model.source is \"synthetic\"",
            ));
        }
        "synthetic" => {
            ModelSource::Synthetic(synthetic::resolve(&synthetic.unwrap_or_default(), outline)?)
        }
        _ => return Err(bad("model.source")),
    };
    if file
        .name
        .as_ref()
        .is_some_and(|name| name.trim().is_empty())
    {
        return Err(bad("model.name"));
    }
    if file
        .context_length
        .is_some_and(|length| !(1..=CONTEXT_LIMIT).contains(&length))
    {
        return Err(bad("model.context_length"));
    }
    let (completions, chat) = match file.max_tokens {
        None => (None, None),
        Some(MaxTokens::Both(number)) => (Some(number), Some(number)),
        Some(MaxTokens::Each { completions, chat }) => (completions, chat),
    };
    Ok(Some(Model {
        name: file.name,
        source,
        context_length: file.context_length,
        chat_template: file.chat_template,
        max_tokens_completion: completions.unwrap_or(defaults::MAX_TOKENS_COMPLETION),
        max_tokens_chat: chat.unwrap_or(defaults::MAX_TOKENS_CHAT),
    }))
}

fn compute(file: &file::Compute, outline: &Outline) -> Result<Compute, Error> {
    let element = |key: &str, value: &Option<String>| {
        let name = value.as_deref().unwrap_or(defaults::NUMBER_TYPE);
        let element = name.parse::<Element>();
        element.map_err(|_| outline.value(key, expected(key)))
    };
    let elements = Elements {
        weights: element("compute.weights", &file.weights)?,
        kv: element("compute.kv", &file.kv)?,
    };
    let isa = IsaChoice::by_name(file.isa.as_deref().unwrap_or(defaults::ISA))
        .ok_or_else(|| outline.value("compute.isa", expected("compute.isa")))?;
    Ok(Compute { elements, isa })
}

fn workers(file: &file::Workers, outline: &Outline, cpus: usize) -> Result<Workers, Error> {
    let bad = |key: &str| outline.value(key, expected(key));
    let within = |key: &str, limit: usize| {
        outline.value(
            key,
            format!("a whole number from 1 to {limit} (this process may use {cpus} CPUs)"),
        )
    };
    let count = file.count.unwrap_or(defaults::WORKER_COUNT);
    if !(1..=cpus).contains(&count) {
        return Err(within("workers.count", cpus));
    }
    // All CPUs by default: decoding is bound by memory, and one thread alone does not reach its limit.
    let threads_per_worker = file.threads_per_worker.unwrap_or(cpus / count);
    if !(1..=cpus / count).contains(&threads_per_worker) {
        return Err(within("workers.threads_per_worker", cpus / count));
    }
    let slots = file.slots.unwrap_or(defaults::SLOTS);
    if !(1..=1024).contains(&slots) {
        return Err(bad("workers.slots"));
    }
    let prefill_chunk = file.prefill_chunk.unwrap_or(defaults::PREFILL_CHUNK);
    if !(1..=8192).contains(&prefill_chunk) {
        return Err(bad("workers.prefill_chunk"));
    }
    let kv_bytes = match &file.kv_bytes {
        None => defaults::KV_BYTES,
        Some(value) => units::bytes(value)
            .filter(|&bytes| bytes > 0)
            .ok_or_else(|| bad("workers.kv_bytes"))?,
    };
    Ok(Workers {
        count,
        threads_per_worker,
        slots,
        prefill_chunk,
        speculation: file.speculation.unwrap_or(defaults::SPECULATION),
        kv_bytes,
    })
}

fn queue(file: &file::Queue, outline: &Outline) -> Result<Queue, Error> {
    let max_jobs = file.max_jobs.unwrap_or(defaults::MAX_JOBS);
    if max_jobs == 0 {
        return Err(outline.value("queue.max_jobs", expected("queue.max_jobs")));
    }
    let retention_s = match &file.retention {
        None => defaults::RETENTION_S,
        // The store counts in milliseconds.
        Some(value) => units::seconds(value)
            .filter(|seconds| (1..=i64::MAX as u64 / 1000).contains(seconds))
            .ok_or_else(|| outline.value("queue.retention", expected("queue.retention")))?,
    };
    let poison_limit = file.poison_limit.unwrap_or(defaults::POISON_LIMIT);
    if poison_limit > 100 {
        return Err(outline.value("queue.poison_limit", expected("queue.poison_limit")));
    }
    let max_jobs_per_user = file.max_jobs_per_user;
    if max_jobs_per_user == Some(0) {
        let key = "queue.max_jobs_per_user";
        return Err(outline.value(key, expected(key)));
    }
    let bytes = |value: &Option<file::NumberOrText>, key| some_bytes(value.as_ref(), key, outline);
    Ok(Queue {
        max_jobs,
        max_jobs_per_user,
        max_bytes: bytes(&file.max_bytes, "queue.max_bytes")?,
        max_bytes_per_user: bytes(&file.max_bytes_per_user, "queue.max_bytes_per_user")?,
        retention_s,
        poison_limit,
        checkpoint_tokens: file
            .checkpoint_tokens
            .unwrap_or(defaults::CHECKPOINT_TOKENS),
        reuse: file.reuse.unwrap_or(defaults::REUSE),
    })
}

/// A size that may be unset, but not 0.
fn some_bytes(
    value: Option<&file::NumberOrText>,
    key: &'static str,
    outline: &Outline,
) -> Result<Option<u64>, Error> {
    let bytes = |written| {
        units::bytes(written)
            .filter(|&bytes| bytes > 0)
            .ok_or_else(|| outline.value(key, expected(key)))
    };
    value.map(bytes).transpose()
}

fn api(file: &file::Api, outline: &Outline) -> Result<Api, Error> {
    let bytes = match &file.max_body_bytes {
        None => Some(defaults::MAX_BODY_BYTES),
        Some(value) => units::bytes(value).filter(|&bytes| bytes > 0),
    };
    let max_body_bytes = bytes
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| outline.value("api.max_body_bytes", expected("api.max_body_bytes")))?;
    let max_file_bytes = match &file.max_file_bytes {
        None => Some(defaults::MAX_FILE_BYTES),
        Some(value) => units::bytes(value).filter(|&bytes| bytes > 0),
    };
    let max_file_bytes = max_file_bytes
        .ok_or_else(|| outline.value("api.max_file_bytes", expected("api.max_file_bytes")))?;
    Ok(Api {
        max_body_bytes,
        max_file_bytes,
    })
}

fn log(file: file::Log, outline: &Outline) -> Result<Log, Error> {
    let level = file.level.unwrap_or_else(|| defaults::LOG_LEVEL.to_owned());
    if !is_log_filter(&level) {
        return Err(outline.value("log.level", expected("log.level")));
    }
    let format = match file.format.as_deref().unwrap_or(defaults::LOG_FORMAT) {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        _ => return Err(outline.value("log.format", expected("log.format"))),
    };
    Ok(Log { level, format })
}

/// A path as the file means it. The empty path is refused: it would be the directory of the file.
fn path(
    written: Option<String>,
    key: &str,
    outline: &Outline,
    base: &Path,
) -> Result<Option<PathBuf>, Error> {
    match written {
        None => Ok(None),
        Some(path) if path.is_empty() => Err(outline.value(key, expected(key))),
        Some(path) => Ok(Some(base.join(path))),
    }
}

/// `"0660"` to 0o660; only permission bits.
fn octal_mode(text: &str) -> Option<u32> {
    let octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|&mode| octal && mode <= 0o777)
}

/// Levels, alone or per target. Stricter than the logging library, which takes a misspelt level for the
/// name of a module.
fn is_log_filter(filter: &str) -> bool {
    let is_level =
        |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word.trim());
    let is_target = |word: &str| {
        let word = word.trim();
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b":_-".contains(&byte))
    };
    filter
        .split(',')
        .all(|directive| match directive.split_once('=') {
            Some((target, level)) => is_target(target) && is_level(level),
            None => is_level(directive),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_permission_bits() {
        assert_eq!(octal_mode("0660"), Some(0o660));
        assert_eq!(octal_mode("777"), Some(0o777));
        for wrong in ["", "0o660", "668", "1777", "+66", "rw"] {
            assert_eq!(octal_mode(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn log_filters_are_levels_alone_or_per_target() {
        for right in [
            "info",
            "off",
            "warn,woolly=debug",
            "woolly::queue=trace, info",
        ] {
            assert!(is_log_filter(right), "{right}");
        }
        for wrong in [
            "",
            "inof",
            "woolly",
            "woolly=",
            "=debug",
            "woolly=loud",
            "info,",
        ] {
            assert!(!is_log_filter(wrong), "{wrong}");
        }
    }
}
