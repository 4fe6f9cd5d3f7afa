//! The directory of cache files: finding and building.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::format::Header;
use super::lock::Lock;
use super::names::LOCK;
use super::place::Place;
use super::quarantine::set_aside;
use super::room::planned_bytes;
use super::{
    Contents, Error, Identity, Key, MappedFile, MappedTensors, Progress, Source, fingerprint,
    writer,
};

/// Ending of cache files.
pub(super) const EXTENSION: &str = "safetensors";

/// A directory that holds cache files, records of source files, and locks while something is built.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
    place: Place,
    max_bytes: Option<u64>,
}

/// How closely a file that is there is looked at before it is used. Its header always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The header only: values are compared later, or never.
    Header,
    /// Every value is read and compared with its checksum.
    Values,
}

/// A cache file that was there or has been built.
#[derive(Debug)]
pub struct Found {
    pub tensors: MappedTensors,
    /// Whether it was there.
    pub from_cache: bool,
    /// Why a file of the same name was refused and built again.
    pub replaced: Option<Error>,
    /// Whether its values are known to be right: they were compared, or have just been written.
    pub values_checked: bool,
}

impl Directory {
    /// Creates the directory, readable by its owner only, unless it exists. Fails on a directory in which
    /// another user could put files.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let create = DirBuilder::new().recursive(true).mode(0o700).create(path);
        create.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => Error::NotADirectory {
                path: path.to_path_buf(),
            },
            _ => Error::writing(path, "create it", 0, error),
        })?;
        let failed = |source| Error::Directory {
            path: path.to_path_buf(),
            action: "open it",
            source,
        };
        let place = Place::at(path).map_err(failed)?;
        place
            .trust()
            .map_err(failed)?
            .map_err(|problem| Error::Untrusted {
                path: path.to_path_buf(),
                problem,
            })?;
        Ok(Directory {
            path: path.to_path_buf(),
            place,
            max_bytes: None,
        })
    }

    /// The same directory, in which all files together may have so many bytes when a new one is built.
    pub fn limited_to(mut self, max_bytes: Option<u64>) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    pub(super) fn max_bytes(&self) -> Option<u64> {
        self.max_bytes
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file of `key` is or would be.
    pub fn file_path(&self, key: &Key) -> PathBuf {
        self.path.join(key.file_name())
    }

    /// The valid file of `key`, or what `contents` makes of a source that is not a file.
    pub fn find_or_build(
        &self,
        key: &Key,
        contents: &dyn Contents,
        check: Check,
        progress: &dyn Progress,
    ) -> Result<Found, Error> {
        self.sweep();
        if let Some(Ok(tensors)) = self.find(key, check, progress) {
            return Ok(Found::there(tensors, check));
        }
        self.could_hold(planned_bytes(contents, key.element)?)?;
        let _lock = self.lock(&key.source)?;
        self.find_or_build_locked(key, contents, check, progress)
    }

    /// The valid cache file of the mapped `source`, or what `contents` makes of it. A file is read for its
    /// hash only when no record of it holds. Works without permission to write when a valid cache file is
    /// there.
    pub fn find_or_build_from(
        &self,
        source: Source<'_>,
        contents: &dyn Contents,
        check: Check,
        progress: &dyn Progress,
    ) -> Result<Found, Error> {
        let found = self.find_or_build_at(SystemTime::now(), source, contents, check, progress)?;
        // Also where nothing was built: what the source contained when it was hashed must be what `contents`
        // has seen of it, or the metadata of one model would meet the weights of another.
        contents.confirm().map_err(Error::Source)?;
        Ok(found)
    }

    fn find_or_build_at(
        &self,
        now: SystemTime,
        source: Source<'_>,
        contents: &dyn Contents,
        check: Check,
        progress: &dyn Progress,
    ) -> Result<Found, Error> {
        self.sweep();
        let identities = source
            .identities()
            .map_err(|error| self.unreadable(error))?;
        let recall = || -> Vec<Option<String>> {
            let recall = |identity| fingerprint::recall(&self.path, identity);
            identities.iter().map(recall).collect()
        };
        if let Some(hashes) = recall().into_iter().collect::<Option<Vec<String>>>()
            && let Some(Ok(tensors)) = self.find(&source.key(&hashes), check, progress)
        {
            return Ok(Found::there(tensors, check));
        }
        // Reading a source that is larger than the whole disk would be in vain.
        self.could_hold(planned_bytes(contents, source.element)?)?;
        // This lock has the name of the files' state: their content is not known yet.
        let state = source.digest(&identities);
        let reading = self.lock(&state);
        let hashes = source.hashes(recall(), progress)?;
        let key = source.key(&hashes);
        let _reading = match reading {
            Ok(lock) => lock,
            Err(unwritable) => {
                return match self.find(&key, check, progress) {
                    Some(Ok(tensors)) => Ok(Found::there(tensors, check)),
                    // A damaged one would be built again if that were possible.
                    Some(Err(Error::Refused { .. })) | None => Err(unwritable),
                    Some(Err(error)) => Err(error),
                };
            }
        };
        // And this one the name of their content, which others may have under another name.
        let _building = self.lock(&key.source)?;
        let found = self.find_or_build_locked(&key, contents, check, progress)?;
        if source.identities().is_ok_and(|now| now == identities) {
            self.remember(source, &identities, &hashes, &key, now);
        }
        Ok(found)
    }

    /// So that the next start reads nothing, and so that it is known which model to convert again.
    fn remember(
        &self,
        source: Source<'_>,
        identities: &[Identity],
        hashes: &[String],
        key: &Key,
        now: SystemTime,
    ) {
        let files = || source.files.iter().map(MappedFile::path).zip(identities);
        for ((path, identity), hash) in files().zip(hashes) {
            fingerprint::remember(&self.path, path, identity, hash, now);
        }
        if hashes != [key.source.as_str()] {
            fingerprint::remember_model(&self.path, source.path, files(), &key.source);
        }
    }

    /// `None` without a file of that name; its error when it is refused.
    fn find(
        &self,
        key: &Key,
        check: Check,
        progress: &dyn Progress,
    ) -> Option<Result<MappedTensors, Error>> {
        let found = self.open_file(key).and_then(|tensors| {
            if check == Check::Values {
                tensors.verify(progress)?;
            }
            tensors.note_use();
            Ok(tensors)
        });
        match found {
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            other => Some(other),
        }
    }

    fn open_file(&self, key: &Key) -> Result<MappedTensors, Error> {
        MappedTensors::open_in(&self.place, &self.file_path(key), Some(key))
    }

    /// Whoever calls it holds the lock of the key.
    fn find_or_build_locked(
        &self,
        key: &Key,
        contents: &dyn Contents,
        check: Check,
        progress: &dyn Progress,
    ) -> Result<Found, Error> {
        let replaced = match self.find(key, check, progress) {
            Some(Ok(tensors)) => return Ok(Found::there(tensors, check)),
            // Damage is repaired. What someone else may have put there, or what cannot be opened, is not
            // ours to replace.
            Some(Err(error @ Error::Refused { .. })) => Some(error),
            Some(Err(error)) => return Err(error),
            None => None,
        };
        if replaced.is_some() {
            // Maps of the refused file stay valid; the name becomes free for the new one.
            set_aside(&self.file_path(key))?;
        }
        let header = Header::plan(key.clone(), contents.specs())?;
        self.make_room(header.file_bytes)?;
        if writer::build(&self.path, header, contents, progress)? {
            return Ok(Found {
                tensors: self.open_file(key)?,
                from_cache: false,
                replaced,
                values_checked: true,
            });
        }
        // Somebody who does not know of locks has put a file there.
        let tensors = self.open_file(key)?;
        if check == Check::Values {
            tensors.verify(progress)?;
        }
        Ok(Found::there(tensors, check))
    }

    fn lock(&self, name: &str) -> Result<Lock, Error> {
        Lock::acquire(lock_path(&self.path, name))
            .map_err(|error| Error::writing(&self.path, "create a lock file", 0, error))
    }

    fn unreadable(&self, source: io::Error) -> Error {
        Error::Directory {
            path: self.path.clone(),
            action: "read",
            source,
        }
    }
}

impl Found {
    fn there(tensors: MappedTensors, check: Check) -> Self {
        Found {
            tensors,
            from_cache: true,
            replaced: None,
            values_checked: check == Check::Values,
        }
    }
}

pub(super) fn lock_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.{LOCK}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt;
    use std::time::Duration;

    use super::*;
    use crate::cache::Part;
    use crate::tensor::{Element, Layout, TensorSpec};

    fn hash(bytes: &[u8]) -> String {
        fingerprint::hash(bytes, &()).unwrap()
    }

    /// One vector, whose only value is the first byte of the source.
    struct FirstByte<'a>(&'a MappedFile);

    impl Contents for FirstByte<'_> {
        fn specs(&self) -> Vec<TensorSpec> {
            let name = "first".to_owned();
            vec![TensorSpec {
                name,
                layout: Layout::Vector,
                rows: 1,
                cols: 1,
            }]
        }

        fn fill(&self, _: &TensorSpec, _: &Part, out: &mut [f32]) {
            out.fill(f32::from(self.0.bytes()[0]));
        }
    }

    #[test]
    fn a_remembered_source_is_not_read_again_and_an_edited_one_is() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("source");
        fs::write(&path, [7; 100]).unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let directory = Directory::open(&root.path().join("cache")).unwrap();
        // An hour from now the file has been at rest long enough to be remembered.
        let now = SystemTime::now() + Duration::from_secs(3_600);
        let open = || {
            let files = [MappedFile::open(&path).unwrap()];
            let source = Source {
                path: &path,
                files: &files,
                recipe: "",
                element: Element::F32,
            };
            let found = directory
                .find_or_build_at(now, source, &FirstByte(&files[0]), Check::Values, &())
                .unwrap();
            let value = found.tensors.get("first").unwrap().1.f32().unwrap()[0];
            (found.from_cache, value, files[0].identity().unwrap())
        };

        let (from_cache, value, identity) = open();
        assert_eq!((from_cache, value), (false, 7.0));
        let remembered = fingerprint::recall(directory.path(), &identity);
        assert_eq!(remembered, Some(hash(&[7; 100])));

        // Another content in the same inode, with the same size and modification time.
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[8], 0).unwrap();
        file.set_modified(modified).unwrap();
        let (from_cache, value, identity) = open();
        assert_eq!((from_cache, value), (false, 8.0));

        // That the record is believed shows when it lies.
        fingerprint::remember(directory.path(), &path, &identity, &hash(&[7; 100]), now);
        let (from_cache, value, _) = open();
        assert_eq!((from_cache, value), (true, 7.0));
    }

    /// Contents of a source that was replaced after its header was read.
    struct Replaced<'a>(FirstByte<'a>);

    impl Contents for Replaced<'_> {
        fn specs(&self) -> Vec<TensorSpec> {
            self.0.specs()
        }

        fn fill(&self, spec: &TensorSpec, part: &Part, out: &mut [f32]) {
            self.0.fill(spec, part, out);
        }

        fn confirm(&self) -> Result<(), String> {
            Err("another file".to_owned())
        }
    }

    #[test]
    fn a_file_that_is_found_is_not_used_for_a_source_that_was_replaced() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("source");
        fs::write(&path, [7; 100]).unwrap();
        let directory = Directory::open(&root.path().join("cache")).unwrap();
        let files = [MappedFile::open(&path).unwrap()];
        let source = Source {
            path: &path,
            files: &files,
            recipe: "",
            element: Element::F32,
        };
        let open = |contents: &dyn Contents| {
            directory.find_or_build_from(source, contents, Check::Header, &())
        };
        assert!(!open(&FirstByte(&files[0])).unwrap().from_cache);
        assert!(open(&FirstByte(&files[0])).unwrap().from_cache);
        let refused = open(&Replaced(FirstByte(&files[0]))).unwrap_err();
        assert_eq!(refused.to_string(), "another file");
    }

    #[test]
    fn where_nothing_can_be_written_a_sound_file_is_used_and_a_damaged_one_is_lack_of_room() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("source");
        fs::write(&path, [7; 100]).unwrap();
        let directory = Directory::open(&root.path().join("cache")).unwrap();
        let files = [MappedFile::open(&path).unwrap()];
        let source = Source {
            path: &path,
            files: &files,
            recipe: "",
            element: Element::F32,
        };
        let open = || {
            let contents = FirstByte(&files[0]);
            directory.find_or_build_at(
                SystemTime::UNIX_EPOCH,
                source,
                &contents,
                Check::Values,
                &(),
            )
        };
        let built = open().unwrap();
        // A directory in the place of its lock, which no one can open to write: as good as a read-only disk.
        let state = source.digest(&source.identities().unwrap());
        fs::create_dir(directory.path().join(format!("{state}.lock"))).unwrap();
        assert!(open().unwrap().from_cache);
        let file = built.tensors.path().to_path_buf();
        fs::remove_file(&file).unwrap();
        fs::write(&file, "damaged").unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
        let refused = open().unwrap_err();
        assert!(matches!(refused, Error::Directory { .. }), "{refused:?}");
        fs::remove_file(&file).unwrap();
        assert!(matches!(open().unwrap_err(), Error::Directory { .. }));
    }

    #[test]
    fn every_file_its_place_and_the_recipe_name_the_cache_file() {
        let root = tempfile::tempdir().unwrap();
        let open = |name: &str, bytes: &[u8]| {
            let path = root.path().join(name);
            fs::write(&path, bytes).unwrap();
            MappedFile::open(&path).unwrap()
        };
        let directory = Directory::open(&root.path().join("cache")).unwrap();
        let now = SystemTime::now() + Duration::from_secs(3_600);
        let build = |files: &[MappedFile], recipe: &str| {
            let source = Source {
                path: root.path(),
                files,
                recipe,
                element: Element::F32,
            };
            let found =
                directory.find_or_build_at(now, source, &FirstByte(&files[0]), Check::Values, &());
            let found = found.unwrap();
            (found.from_cache, found.tensors.key().clone())
        };

        let one = [open("a", b"1")];
        assert_eq!(build(&one, "").1.source, hash(b"1"));
        let two = [open("a", b"1"), open("b", b"22")];
        let (from_cache, key) = build(&two, "");
        assert_eq!((from_cache, key.source_bytes), (false, 3));
        assert!(build(&two, "").0, "found again");
        let swapped = [open("b", b"22"), open("a", b"1")];
        let edited = [open("a", b"1"), open("b", b"23")];
        let others = [
            build(&one, "").1,
            build(&one, "rows permuted").1,
            build(&two, "rows permuted").1,
            build(&swapped, "").1,
            build(&edited, "").1,
        ];
        let mut names: Vec<String> = others.iter().map(Key::stem).collect();
        names.push(key.stem());
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 6);
    }
}
