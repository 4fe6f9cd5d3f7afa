//! R11: somebody else was here first. What lies at the places that the cache uses is not what it should be: it is
//! refused with a sentence that says so, or it does no harm; never is it believed, written through, or waited
//! for.

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::cli::{Said, WOOLLYCTL, command, say};
use crate::support::daemon::Home;

use super::warming::{Warming, model, names};
use super::{Fault, Figure, Trial, right};

/// Nobody we know.
const STRANGER: u32 = 54_321;
/// A program that hangs is ended after this many seconds, with this code.
const PATIENCE: &str = "30";
const HANGS: i32 = 124;
const SECRET: &str = "not ours to touch";

/// What must come of a case.
enum Expected {
    /// Exit code 1 and a sentence with one of these in it.
    Refused(&'static [&'static str]),
    /// The right file is there afterwards.
    Served,
}
use Expected::{Refused, Served};

const WRITABLE: Expected = Refused(&["others can write to it", "others may write to it"]);
const FOREIGN: Expected = Refused(&["it belongs to user 54321"]);
const LINK: Expected = Refused(&["a symbolic link"]);
const IRREGULAR: Expected = Refused(&["regular file"]);
const NO_DIRECTORY: Expected = Refused(&[
    "it is not a directory",
    "cannot open it",
    "cannot create it",
]);

/// A cache directory that does not exist yet, and what may be put at its places.
struct Scene {
    warming: Warming,
    dir: PathBuf,
    /// A file outside the cache.
    precious: PathBuf,
    /// Names in the cache directory: the file, the record, the lock.
    file: String,
    record: String,
    lock: String,
    root: bool,
}

type Case = (&'static str, Expected, fn(&Scene));

/// Cases about the directory itself.
const DIRECTORIES: [Case; 11] = [
    (
        "a directory that everybody may write to",
        WRITABLE,
        |scene| scene.directory(0o777),
    ),
    (
        "a directory that its group may write to",
        WRITABLE,
        |scene| scene.directory(0o770),
    ),
    ("a directory like /tmp", WRITABLE, |scene| {
        scene.directory(0o1777)
    }),
    ("a file in the directory's place", NO_DIRECTORY, |scene| {
        fs::write(&scene.dir, SECRET).unwrap()
    }),
    ("a FIFO in the directory's place", NO_DIRECTORY, |scene| {
        node(&scene.dir, FileType::Fifo)
    }),
    ("a socket in the directory's place", NO_DIRECTORY, |scene| {
        socket(&scene.dir)
    }),
    (
        "a link to nowhere in the directory's place",
        NO_DIRECTORY,
        |scene| {
            symlink(scene.warming.root().join("nowhere"), &scene.dir).unwrap();
        },
    ),
    (
        "a link to a file in the directory's place",
        NO_DIRECTORY,
        |scene| {
            symlink(&scene.precious, &scene.dir).unwrap();
        },
    ),
    (
        "a link to a directory that everybody may write to",
        WRITABLE,
        |scene| {
            let open = scene.warming.root().join("open");
            fs::create_dir_all(&open).unwrap();
            fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
            symlink(open, &scene.dir).unwrap();
        },
    ),
    ("a link to a directory of our own", Served, |scene| {
        let own = scene.warming.root().join("own");
        fs::create_dir_all(&own).unwrap();
        fs::set_permissions(&own, Permissions::from_mode(0o700)).unwrap();
        symlink(own, &scene.dir).unwrap();
    }),
    ("a directory that everybody may read", Served, |scene| {
        scene.directory(0o755)
    }),
];

/// Cases about what lies in the directory.
const FILES: [Case; 19] = [
    ("the file is a link to the right file", LINK, |scene| {
        symlink(scene.golden(), scene.at(&scene.file)).unwrap();
    }),
    ("the file is a link to another file", LINK, |scene| {
        symlink(&scene.precious, scene.at(&scene.file)).unwrap();
    }),
    ("the file is a link to nowhere", LINK, |scene| {
        symlink("nowhere", scene.at(&scene.file)).unwrap()
    }),
    (
        "the file has a second name",
        Refused(&["it has 2 names"]),
        |scene| {
            let second = scene.warming.root().join("second");
            let _ = fs::remove_file(&second);
            fs::copy(scene.golden(), &second).unwrap();
            fs::hard_link(second, scene.at(&scene.file)).unwrap();
        },
    ),
    ("the file is a FIFO", IRREGULAR, |scene| {
        node(&scene.at(&scene.file), FileType::Fifo)
    }),
    ("the file is a directory", IRREGULAR, |scene| {
        fs::create_dir(scene.at(&scene.file)).unwrap()
    }),
    ("the file is a socket", IRREGULAR, |scene| {
        socket(&scene.at(&scene.file))
    }),
    (
        "the file may be written to by its group",
        WRITABLE,
        |scene| scene.copy(0o460),
    ),
    (
        "the file may be written to by everybody",
        WRITABLE,
        |scene| scene.copy(0o602),
    ),
    ("the file is empty", Served, |scene| {
        fs::write(scene.at(&scene.file), "").unwrap()
    }),
    ("the record is a link to another file", Served, |scene| {
        symlink(&scene.precious, scene.at(&scene.record)).unwrap();
    }),
    ("the record is a FIFO", Served, |scene| {
        node(&scene.at(&scene.record), FileType::Fifo)
    }),
    ("the record is a directory", Served, |scene| {
        fs::create_dir(scene.at(&scene.record)).unwrap()
    }),
    ("the record is 100 GiB long", Served, |scene| {
        let file = fs::File::create(scene.at(&scene.record)).unwrap();
        file.set_len(100 << 30).unwrap();
    }),
    ("the record leads out of the directory", Served, |scene| {
        let record = fs::read_to_string(scene.warming.golden().join(&scene.record)).unwrap();
        let outside = format!("\"blake3\":\"../{}", "x".repeat(61));
        fs::write(scene.at(&scene.record), replace_hash(&record, &outside)).unwrap();
    }),
    (
        "the record lies, and everybody may write to it",
        Served,
        |scene| {
            // A cache file of other weights, and a record that says they are those of the model.
            let record = fs::read_to_string(scene.warming.golden().join(&scene.record)).unwrap();
            let lie = format!("\"blake3\":\"{}", "0".repeat(64));
            fs::write(scene.at(&scene.record), replace_hash(&record, &lie)).unwrap();
            fs::set_permissions(scene.at(&scene.record), Permissions::from_mode(0o666)).unwrap();
            let other = scene.file.replace(&scene.file[..64], &"0".repeat(64));
            fs::copy(scene.golden(), scene.at(&other)).unwrap();
            fs::set_permissions(scene.at(&other), Permissions::from_mode(0o400)).unwrap();
        },
    ),
    (
        "the lock is a link to another file",
        Refused(&["cannot create a lock file"]),
        |scene| {
            symlink(&scene.precious, scene.at(&scene.lock)).unwrap();
        },
    ),
    (
        "the lock is a directory",
        Refused(&["cannot create a lock file"]),
        |scene| {
            fs::create_dir(scene.at(&scene.lock)).unwrap();
        },
    ),
    (
        "the lock is a FIFO",
        Refused(&["cannot create a lock file"]),
        |scene| {
            node(&scene.at(&scene.lock), FileType::Fifo);
        },
    ),
];

/// Cases that only root can set up.
const OF_ROOT: [Case; 6] = [
    ("a directory of another user", FOREIGN, |scene| {
        scene.directory(0o700);
        chown(&scene.dir, Some(STRANGER), None).unwrap();
    }),
    ("a device in the directory's place", NO_DIRECTORY, |scene| {
        node(&scene.dir, FileType::CharacterDevice)
    }),
    ("the file belongs to another user", FOREIGN, |scene| {
        scene.copy(0o400);
        chown(scene.at(&scene.file), Some(STRANGER), None).unwrap();
    }),
    ("the file is a device", IRREGULAR, |scene| {
        node(&scene.at(&scene.file), FileType::CharacterDevice)
    }),
    ("the file is a disk", IRREGULAR, |scene| {
        node(&scene.at(&scene.file), FileType::BlockDevice)
    }),
    ("the record is a device", Served, |scene| {
        node(&scene.at(&scene.record), FileType::CharacterDevice)
    }),
];

/// Puts something at a path.
type Make = fn(&Path);

/// Models that are none.
const MODELS: [(&str, &str, Make); 8] = [
    ("a FIFO", "it is not a regular file", |path| {
        node(path, FileType::Fifo)
    }),
    ("a socket", "cannot read it", socket),
    ("an empty folder", "config.json", |path| {
        fs::create_dir(path).unwrap()
    }),
    (
        "a link to nowhere",
        "cannot read it: No such file",
        |path| symlink("nowhere", path).unwrap(),
    ),
    ("a link to itself", "cannot read it", |path| {
        symlink(path, path).unwrap()
    }),
    ("an empty file", "it is empty", |path| {
        fs::write(path, "").unwrap()
    }),
    ("nothing", "cannot read it: No such file", |_| ()),
    ("a file of zeros", "it is not a GGUF file", |path| {
        fs::File::create(path).unwrap().set_len(1 << 30).unwrap();
    }),
];

impl Scene {
    fn new() -> Self {
        let warming = Warming::new();
        let precious = warming.root().join("precious");
        fs::write(&precious, SECRET).unwrap();
        let found = |ending: &str| {
            let names = names(&warming.golden());
            names
                .into_iter()
                .find(|name| name.ends_with(ending))
                .unwrap()
        };
        Scene {
            dir: warming.root().join("cache"),
            file: found(".safetensors"),
            record: found(".source"),
            lock: warming.lock_name(),
            precious,
            root: rustix::process::geteuid().is_root(),
            warming,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn golden(&self) -> PathBuf {
        self.warming.golden().join(&self.file)
    }

    fn directory(&self, mode: u32) {
        fs::create_dir(&self.dir).unwrap();
        fs::set_permissions(&self.dir, Permissions::from_mode(mode)).unwrap();
    }

    /// The right file with a mode.
    fn copy(&self, mode: u32) {
        let path = self.at(&self.file);
        fs::copy(self.golden(), &path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }

    fn clear(&self) {
        let _ = fs::remove_dir_all(&self.dir);
        let _ = fs::remove_file(&self.dir);
    }

    fn run(&self, (case, expected, prepare): &Case, in_place: bool) -> Trial {
        self.clear();
        if !in_place {
            self.directory(0o700);
        }
        prepare(self);
        let said = patient(&[
            "cache",
            "warm",
            "--json",
            &model(),
            "--dir",
            self.dir.to_str().unwrap(),
        ]);
        right(said.code != Some(HANGS), || format!("{case}: hangs"))?;
        let precious = fs::read_to_string(&self.precious).unwrap();
        right(precious == SECRET, || {
            format!("{case}: another file was changed")
        })?;
        match expected {
            Refused(sentences) => {
                let told =
                    said.code == Some(1) && sentences.iter().any(|one| said.err.contains(one));
                if told {
                    Ok(())
                } else {
                    Err(Fault::Unnoticed(format!("{case}: {said:?}")))
                }
            }
            Served => {
                let done = said.code == Some(0) && !self.at(&self.file).is_symlink();
                right(done, || format!("{case}: {said:?}"))?;
                let found = fs::read(self.at(&self.file)).ok();
                right(found == fs::read(self.golden()).ok(), || {
                    format!("{case}: other weights, or none: {said:?}")
                })?;
                // What was used is made of the model, whatever else lies there.
                let used = said.out.contains(&self.file[..64]);
                right(used, || format!("{case}: {said:?}"))
            }
        }
    }
}

#[test]
fn r11_what_somebody_else_put_there_is_not_believed() {
    let scene = Scene::new();
    let mut figure = Figure::new("R11", "hostile cache directories, files, records, locks");
    for case in &DIRECTORIES {
        figure.count(scene.run(case, true));
    }
    for case in &FILES {
        figure.count(scene.run(case, false));
    }
    if scene.root {
        for case in &OF_ROOT {
            figure.count(scene.run(case, case.0.contains("directory")));
        }
    } else {
        println!("skipped: files of other owners and devices need root");
    }
    scene.clear();
    figure.finish(DIRECTORIES.len() + FILES.len());
}

#[test]
fn r11_a_model_that_is_none_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut figure = Figure::new("R11", "hostile model paths");
    let mut refuse = |case: &str, path: &str, sentence: &str| {
        let dir = root.path().join("cache");
        let said = patient(&["cache", "warm", path, "--dir", dir.to_str().unwrap()]);
        let told = said.code == Some(1) && said.err.contains(sentence) && names(&dir).is_empty();
        figure.count(match said.code {
            Some(HANGS) => Err(Fault::Wrong(format!("{case}: hangs"))),
            _ if told => Ok(()),
            _ => Err(Fault::Unnoticed(format!("{case}: {said:?}"))),
        });
    };
    for (number, (case, sentence, prepare)) in MODELS.iter().enumerate() {
        let path = root.path().join(number.to_string());
        prepare(&path);
        refuse(case, path.to_str().unwrap(), sentence);
    }
    refuse(
        "a name of 4096 characters",
        &"x".repeat(4096),
        "File name too long",
    );
    refuse("an endless device", "/dev/zero", "it is not a regular file");
    figure.finish(MODELS.len() + 2);
}

#[test]
fn r11_the_daemon_says_that_it_is_a_matter_of_configuration() {
    let mut figure = Figure::new("R11", "hostile cache directories under a daemon");
    let mut refuse = |case: &str, cache: &str, prepare: fn(&Path)| {
        let config = format!(
            "[model]\npath = {:?}\n[cache]\ndir = \"{cache}\"\n",
            model()
        );
        let home = Home::new(&config);
        prepare(&home.path().join("cache"));
        let ended = Said::from(home.run(&[]));
        let told = ended.code == Some(78) && !ended.err.contains("panicked");
        figure.count(if told {
            Ok(())
        } else {
            Err(Fault::Unnoticed(format!("{case}: {ended:?}")))
        });
    };
    refuse("a file", "cache", |path| fs::write(path, SECRET).unwrap());
    refuse("a NUL in the name", "cache\\u0000", |_| ());
    refuse("a name of 4096 characters", &"x".repeat(4096), |_| ());
    refuse("everybody may write", "cache", |path| {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    });
    figure.finish(4);
}

/// Runs `woollyctl`, which must not hang.
fn patient(arguments: &[&str]) -> Said {
    say(command(
        "timeout",
        &[&[PATIENCE, WOOLLYCTL], arguments].concat(),
    ))
}

fn node(path: &Path, kind: FileType) {
    let name = CString::new(path.to_str().unwrap()).unwrap();
    // The numbers of /dev/zero and of the first loop device; FIFOs have none.
    let device = match kind {
        FileType::CharacterDevice => rustix::fs::makedev(1, 5),
        FileType::BlockDevice => rustix::fs::makedev(7, 0),
        _ => 0,
    };
    mknodat(CWD, name, kind, Mode::from_raw_mode(0o600), device).unwrap();
}

fn socket(path: &Path) {
    // The name of a cache file is too long for a socket to be bound to.
    let short = path.with_file_name("s");
    drop(UnixListener::bind(&short).unwrap());
    fs::rename(short, path).unwrap();
}

/// The text of a record with another beginning of its hash.
fn replace_hash(record: &str, begin: &str) -> String {
    let at = record.find("\"blake3\":\"").unwrap();
    [
        &record[..at],
        begin,
        &record[at + "\"blake3\":\"".len() + 64..],
    ]
    .concat()
}
