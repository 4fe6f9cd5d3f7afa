//! Cache directories and files that someone else could have changed, or that are not files at all, are refused
//! with the reason, and left as they are.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};
use woolly::cache::{
    Check, Contents, Directory, Distrust, Error, Found, Key, MappedTensors, Part, Problem,
};
use woolly::tensor::{Element, Layout, TensorSpec};

/// One vector of a thousand ones.
struct Ones;

impl Contents for Ones {
    fn specs(&self) -> Vec<TensorSpec> {
        vec![TensorSpec {
            name: "ones".into(),
            layout: Layout::Vector,
            rows: 1,
            cols: 1000,
        }]
    }

    fn fill(&self, _: &TensorSpec, _: &Part, out: &mut [f32]) {
        out.fill(1.0);
    }
}

fn key() -> Key {
    Key {
        source: "5a".repeat(32),
        source_bytes: 1234,
        element: Element::F32,
    }
}

fn open(directory: &Path) -> Result<Found, Error> {
    Directory::open(directory)?.find_or_build(&key(), &Ones, Check::Header, &())
}

/// A directory with one cache file.
fn built() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let found = open(root.path()).unwrap();
    let path = found.tensors.path().to_path_buf();
    (root, path)
}

#[track_caller]
fn assert_untrusted(result: Result<Found, Error>, at: &Path, expected: Distrust) {
    match result {
        Err(Error::Untrusted { path, problem }) => {
            assert_eq!((path.as_path(), problem), (at, expected));
        }
        other => panic!("{other:?}"),
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_directory_in_which_others_can_write_is_refused() {
    for mode in [0o777, 0o770, 0o1777, 0o720, 0o702] {
        let (root, _) = built();
        set_mode(root.path(), mode);
        assert_untrusted(open(root.path()), root.path(), Distrust::Writable { mode });
    }
    for mode in [0o700, 0o755, 0o750] {
        let (root, _) = built();
        set_mode(root.path(), mode);
        assert!(open(root.path()).unwrap().from_cache);
    }
}

#[test]
fn a_file_that_others_can_write_to_is_refused() {
    for mode in [0o606, 0o460, 0o666, 0o422] {
        let (root, path) = built();
        set_mode(&path, mode);
        assert_untrusted(open(root.path()), &path, Distrust::Writable { mode });
        assert!(path.exists(), "it is not ours to replace");
    }
    for mode in [0o400, 0o600, 0o444, 0o644] {
        let (root, path) = built();
        set_mode(&path, mode);
        assert!(open(root.path()).unwrap().from_cache, "{mode:o}");
    }
}

#[test]
fn what_another_user_owns_is_refused() {
    if !is_root() {
        return eprintln!("skipped: only root can give files away");
    }
    let foreign = Distrust::Owner {
        owner: 1234,
        expected: 0,
    };
    let (root, path) = built();
    chown(&path, Some(1234), None).unwrap();
    assert_untrusted(open(root.path()), &path, foreign);
    let (root, _) = built();
    chown(root.path(), Some(1234), None).unwrap();
    assert_untrusted(open(root.path()), root.path(), foreign);
}

#[test]
fn links_are_refused() {
    let (root, path) = built();
    let other = root.path().join("other");
    fs::hard_link(&path, &other).unwrap();
    assert_untrusted(open(root.path()), &path, Distrust::Links { links: 2 });

    fs::remove_file(&path).unwrap();
    symlink(&other, &path).unwrap();
    assert_untrusted(open(root.path()), &path, Distrust::Symlink);
    // Dangling, and in a circle.
    for target in [root.path().join("nothing"), path.clone()] {
        fs::remove_file(&path).unwrap();
        symlink(target, &path).unwrap();
        assert_untrusted(open(root.path()), &path, Distrust::Symlink);
    }
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let (root, path) = built();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_untrusted(open(root.path()), &path, Distrust::NotRegular);

    fs::remove_dir(&path).unwrap();
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert_untrusted(open(root.path()), &path, Distrust::NotRegular);

    fs::remove_file(&path).unwrap();
    // The name of a cache file is too long for a socket to be bound to.
    let short = root.path().join("s");
    let _socket = UnixListener::bind(&short).unwrap();
    fs::rename(&short, &path).unwrap();
    assert_untrusted(open(root.path()), &path, Distrust::NotRegular);

    if is_root() {
        fs::remove_file(&path).unwrap();
        // The zero device.
        let device = rustix::fs::makedev(1, 5);
        let made = rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::RUSR, device);
        if made.is_ok() {
            assert_untrusted(open(root.path()), &path, Distrust::NotRegular);
        }
    }
}

#[test]
fn a_directory_that_is_none_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("below")] {
        match Directory::open(&path) {
            Err(Error::NotADirectory { path: named }) => assert_eq!(named, path),
            other => panic!("{other:?}"),
        }
    }
    // Names that no file can have: one with a zero byte, one longer than a name may be, an endless link.
    let circle = root.path().join("circle");
    symlink(&circle, &circle).unwrap();
    for path in [
        root.path().join("a\0b"),
        root.path().join("n".repeat(4096)),
        circle.join("x"),
    ] {
        match Directory::open(&path) {
            Err(Error::Directory { path: named, .. }) => assert_eq!(named, path),
            other => panic!("{path:?}: {other:?}"),
        }
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
}

#[test]
fn only_the_last_part_of_a_path_is_opened_in_its_directory() {
    let (root, path) = built();
    let inner = root.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let by_detour = inner.join("..").join(path.file_name().unwrap());
    assert!(MappedTensors::open(&by_detour, None).is_ok());
    for nameless in [root.path().join(".."), PathBuf::from("/")] {
        match MappedTensors::open(&nameless, None) {
            Err(Error::File { path, .. }) => assert_eq!(path, nameless),
            other => panic!("{other:?}"),
        }
    }
}

/// Damage is repaired, and what was damaged can be looked at.
#[test]
fn a_damaged_file_is_set_aside_and_built_again() {
    let (root, path) = built();
    let mut bytes = fs::read(&path).unwrap();
    bytes[9] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, &bytes).unwrap();
    set_mode(&path, 0o400);

    let found = open(root.path()).unwrap();
    assert!(!found.from_cache && found.values_checked);
    match found.replaced {
        Some(Error::Refused {
            problem: Problem::Foreign | Problem::HeaderChecksum,
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(
        found.tensors.get("ones").unwrap().1.f32().unwrap(),
        [1.0; 1000]
    );
    let aside = PathBuf::from(format!("{}.bad", path.display()));
    assert_eq!(fs::read(aside).unwrap(), bytes);
}

/// The least recently used file goes for a new one, unless it is mapped.
#[test]
fn a_limit_is_kept_by_removing_what_nobody_uses() {
    let key = |name: &str| Key {
        source: name.repeat(32),
        source_bytes: 1,
        element: Element::F32,
    };
    let root = tempfile::tempdir().unwrap();
    let bytes = fs::metadata(open(root.path()).unwrap().tensors.path())
        .unwrap()
        .len();
    let limited = Directory::open(root.path())
        .unwrap()
        .limited_to(Some(2 * bytes));
    let build = |name: &str| limited.find_or_build(&key(name), &Ones, Check::Header, &());
    let there = |name: &str| limited.file_path(&key(name)).exists();

    // What is larger than the limit itself costs nobody a file.
    let small = Directory::open(root.path())
        .unwrap()
        .limited_to(Some(bytes - 1));
    let refused = small.find_or_build(&key("ee"), &Ones, Check::Header, &());
    assert!(matches!(refused, Err(Error::OverLimit { .. })));
    assert!(there("5a"));
    drop(build("aa").unwrap());
    // A file that would be refused counts, and goes first.
    let old = root
        .path()
        .join(format!("{}-f32-v0.safetensors", "0".repeat(64)));
    fs::write(&old, vec![0; bytes as usize]).unwrap();
    set_mode(&old, 0o400);
    drop(build("ff").unwrap());
    assert!(!old.exists());
    fs::remove_file(limited.file_path(&key("ff"))).unwrap();
    drop((open(root.path()).unwrap(), build("aa").unwrap()));
    // A third file: the oldest goes.
    let mapped = build("bb").unwrap();
    assert_eq!((there("5a"), there("aa"), there("bb")), (false, true, true));
    // A fourth: "bb" is mapped, so "aa" goes.
    let other = build("cc").unwrap();
    assert_eq!((there("aa"), there("bb"), there("cc")), (false, true, true));
    // A fifth has no room while both are mapped.
    match build("dd") {
        Err(Error::OverLimit {
            bytes: needed,
            limit,
            in_use,
            ..
        }) => assert_eq!((needed, limit, in_use), (bytes, 2 * bytes, 2 * bytes)),
        other => panic!("{other:?}"),
    }
    drop((mapped, other));
    assert!(!build("dd").unwrap().from_cache);
}
