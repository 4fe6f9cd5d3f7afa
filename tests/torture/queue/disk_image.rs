//! A disk as the rules of POSIX allow it to be after the power went: what was synced is there, of the rest anything.
//!
//! A write is certain once its file was synced, a name once its directory was. Until then each may be there or not, in
//! any order, and a write also in part.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Writes are cut between these.
const SECTOR: usize = 512;

/// What a program did to files, in the order in which the calls returned.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// Opened with `O_CREAT`.
    Create {
        path: PathBuf,
        truncated: bool,
    },
    Mkdir(PathBuf),
    /// At this place, or at the end.
    Write {
        path: PathBuf,
        at: Option<u64>,
        data: Vec<u8>,
    },
    Truncate {
        path: PathBuf,
        length: u64,
    },
    /// A file, or a directory.
    Sync(PathBuf),
    Unlink(PathBuf),
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, data: Vec<u8> },
    Truncate(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>, part: usize) {
        match self {
            Change::Truncate(length) => content.resize(*length, 0),
            Change::Write { at, data } => {
                let data = &data[..part.min(data.len())];
                if content.len() < at + data.len() {
                    content.resize(at + data.len(), 0);
                }
                content[*at..at + data.len()].copy_from_slice(data);
            }
        }
    }
}

#[derive(Debug, Clone)]
struct Inode {
    is_directory: bool,
    synced: Vec<u8>,
    pending: Vec<Change>,
    /// As programs see it.
    length: usize,
}

/// A name comes to stand for a file, or for none.
type Naming = (PathBuf, Option<usize>);

/// The disk while events happen to it.
#[derive(Debug)]
pub(super) struct Disk {
    inodes: Vec<Inode>,
    /// As programs see them.
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    /// By the directory that has to be synced.
    pending_names: BTreeMap<PathBuf, Vec<Naming>>,
}

impl Disk {
    /// An empty one.
    pub fn new() -> Self {
        Disk {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            pending_names: BTreeMap::new(),
        }
    }

    pub fn happen(&mut self, event: &Event) {
        match event {
            Event::Create { path, truncated } => match self.names.get(path) {
                None => self.make(path, false),
                Some(_) if *truncated => self.change(path, Change::Truncate(0)),
                Some(_) => {}
            },
            Event::Mkdir(path) => self.make(path, true),
            Event::Write { path, at, data } => {
                let Some(&inode) = self.names.get(path) else {
                    return;
                };
                let end = self.inodes[inode].length;
                let at = at.map_or(end, |at| at as usize);
                let data = data.clone();
                self.change(path, Change::Write { at, data });
            }
            Event::Truncate { path, length } => {
                self.change(path, Change::Truncate(*length as usize));
            }
            Event::Sync(path) => self.sync(path),
            Event::Unlink(path) => self.name(path, None),
            Event::Rename { from, to } => {
                let inode = self.names.get(from).copied();
                self.name(to, inode);
                self.name(from, None);
            }
        }
    }

    fn make(&mut self, path: &Path, is_directory: bool) {
        self.inodes.push(Inode {
            is_directory,
            synced: Vec::new(),
            pending: Vec::new(),
            length: 0,
        });
        self.name(path, Some(self.inodes.len() - 1));
    }

    fn name(&mut self, path: &Path, inode: Option<usize>) {
        set(&mut self.names, path, inode);
        let parent = path.parent().unwrap().to_owned();
        let pending = self.pending_names.entry(parent).or_default();
        pending.push((path.to_owned(), inode));
    }

    fn change(&mut self, path: &Path, change: Change) {
        let Some(&inode) = self.names.get(path) else {
            return;
        };
        let inode = &mut self.inodes[inode];
        inode.length = match &change {
            Change::Write { at, data } => inode.length.max(at + data.len()),
            Change::Truncate(length) => *length,
        };
        inode.pending.push(change);
    }

    fn sync(&mut self, path: &Path) {
        for (path, inode) in self.pending_names.remove(path).unwrap_or_default() {
            set(&mut self.synced_names, &path, inode);
        }
        if let Some(&inode) = self.names.get(path) {
            let inode = &mut self.inodes[inode];
            for change in inode.pending.drain(..) {
                change.apply(&mut inode.synced, usize::MAX);
            }
        }
    }

    /// Writes what the power leaves into `target`, where `root` stood; how many changes were lost or cut.
    pub fn lose_power(
        &self,
        root: &Path,
        target: &Path,
        random: &mut impl FnMut(u64) -> u64,
    ) -> usize {
        let mut lost = 0;
        // Of ten changes so many stay: all, none, or something between.
        let mut names = self.synced_names.clone();
        let luck = random(11);
        for (path, inode) in self.pending_names.values().flatten() {
            if random(10) < luck {
                set(&mut names, path, *inode);
            } else {
                lost += 1;
            }
        }
        for (path, inode) in &names {
            let Ok(below) = path.strip_prefix(root) else {
                continue;
            };
            let is_there = |above: &Path| !above.starts_with(root) || names.contains_key(above);
            if !path.ancestors().skip(1).all(is_there) {
                continue;
            }
            let inode = &self.inodes[*inode];
            let path = target.join(below);
            if inode.is_directory {
                std::fs::create_dir_all(path).unwrap();
                continue;
            }
            let mut content = inode.synced.clone();
            let luck = random(11);
            for change in &inode.pending {
                if random(10) >= luck {
                    lost += 1;
                } else if random(8) == 0 {
                    change.apply(&mut content, SECTOR * random(8) as usize);
                    lost += 1;
                } else {
                    change.apply(&mut content, usize::MAX);
                }
            }
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        lost
    }
}

fn set(names: &mut BTreeMap<PathBuf, usize>, path: &Path, inode: Option<usize>) {
    match inode {
        Some(inode) => names.insert(path.to_owned(), inode),
        None => names.remove(path),
    };
}
