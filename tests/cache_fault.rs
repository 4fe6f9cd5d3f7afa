//! A mapped file that is cut short ends the process with a note of what it was.

use std::env;
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;

use woolly::cache::MappedFile;
use woolly::cache::fault::{self, Guard};

/// Where the child finds its files; without it the child's test does nothing.
const DIRECTORY: &str = "WOOLLY_TEST_FAULT_DIRECTORY";
const PAGE: usize = 4096;
const THREADS: usize = 16;

/// Not a test by itself: the process that meets the fault.
#[test]
fn child() {
    let Some(directory) = env::var_os(DIRECTORY) else {
        return;
    };
    let directory = Path::new(&directory);
    let path = directory.join("mapped");
    fs::write(&path, vec![7; 3 * PAGE]).unwrap();
    let sound = MappedFile::open(&path).unwrap();
    drop(MappedFile::open(&path).unwrap());
    let marker = directory.join("marker");
    let _guard = Guard::install(marker.exists().then_some(&*marker)).unwrap();
    let later = MappedFile::open(&path).unwrap();
    assert_eq!((sound.bytes()[2 * PAGE], later.bytes()[PAGE]), (7, 7));

    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(PAGE as u64).unwrap();
    // The first page is still there.
    assert_eq!(later.bytes()[PAGE - 1], 7);
    // As the threads of a step do: all at once.
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                println!("{}", later.bytes()[2 * PAGE + 5]);
            });
        }
    });
}

#[test]
fn the_process_ends_with_a_note() {
    for wants_note in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let marker = directory.path().join("marker");
        if wants_note {
            fs::write(&marker, "what an earlier process left").unwrap();
        }
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "cache_fault::child", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&child.stderr);
        assert_eq!(child.status.code(), Some(74), "{stderr}");
        let file = directory.path().join("mapped");
        let sentence = format!("error: file {}: a part of it", file.display());
        assert!(stderr.contains(&sentence), "{stderr}");
        assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
        let offset = 2 * PAGE as u64 + 5;
        let noted = fault::read(&marker).map(|fault| (fault.file, fault.offset));
        assert_eq!(noted, wants_note.then_some((file, offset)));
    }
}
