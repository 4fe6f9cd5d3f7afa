//! What a command line means by a cache file: a path, or the beginning of a name in the cache directory.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::cache;
use crate::cli::Error;

/// The cache file that `text` means. Fails when there is none, or more than one.
pub(super) fn cache_file(text: &Path, dir: &Path) -> Result<PathBuf, Error> {
    if text.exists() {
        return Ok(text.to_path_buf());
    }
    // A missing directory holds no files; any other problem shows when a file is opened.
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = files.map(|file| file.path()).filter(|path| {
        let begins = path.file_name().is_some_and(|name| {
            name.as_encoded_bytes()
                .starts_with(text.as_os_str().as_encoded_bytes())
        });
        begins && cache::is_cache_file_name(path)
    });
    let mut names: Vec<PathBuf> = names.collect();
    names.sort();
    let (text, dir) = (text.display(), dir.display());
    match names.len() {
        0 => Err(Error::Failed(format!(
            "there is no file {text}, and no cache file in {dir} whose name begins like this"
        ))),
        1 => Ok(names.remove(0)),
        count => Err(Error::Usage(format!(
            "{text} is the beginning of the names of {count} cache files in {dir}; give more of it"
        ))),
    }
}

/// Whether `path` is a model rather than a cache file: a GGUF file, or a folder.
pub(super) fn is_model(path: &Path) -> bool {
    let mut magic = [0; 4];
    // Opening a FIFO would wait for a writer.
    path.is_dir()
        || path.is_file()
            && File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok())
            && magic == *b"GGUF"
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_name_may_be_cut_short_while_it_is_the_only_one() {
        let dir = tempfile::tempdir().unwrap();
        let named = |begin: &str| {
            format!(
                "{begin}{}-f32-panels16-v1.safetensors",
                &"0".repeat(64)[begin.len()..]
            )
        };
        let names = ["ab1", "ab2", "cd"].map(named);
        let foreign = "ce.safetensors".to_owned();
        for name in names.iter().chain([&foreign]) {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let find = |text: &str| cache_file(Path::new(text), dir.path());
        assert_eq!(find("ab1").unwrap(), dir.path().join(&names[0]));
        assert_eq!(find("c").unwrap(), dir.path().join(&names[2]));
        assert_eq!(find("ab").unwrap_err().code(), 2);
        assert_eq!(find("ce").unwrap_err().code(), 1);
        let path = dir.path().join(&names[1]);
        assert_eq!(cache_file(&path, Path::new("/nowhere")).unwrap(), path);
    }

    #[test]
    fn a_model_is_known_by_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for (bytes, model) in [
            (&b"GGUF\x03"[..], true),
            (b"GGU", false),
            (b"{\"__metadata__\"", false),
        ] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(is_model(&path), model);
        }
        assert!(is_model(dir.path()));
        assert!(!is_model(&dir.path().join("missing")));
    }
}
