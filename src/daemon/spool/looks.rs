//! What is done at each look at the directory.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::queue::Queue;
use crate::queue::batch::Spooled;

use super::accept::Intake;
use super::deliver::Delivery;
use super::ending::Ending;
use super::{Trouble, file_trouble, names, not_taken, place, queue_trouble};

/// Between two looks at the directory: nothing that runs for hours is in a greater hurry.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What was refused is tried again after this: a queue that is full does not empty in a second.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// The directory, and where its files go.
pub(super) struct Watched {
    pub(super) directory: PathBuf,
    pub(super) queue: Queue,
    pub(super) max_file_bytes: u64,
    pub(super) longest_line: u64,
}

/// One look after the other.
pub(super) struct Looks {
    watched: Watched,
    /// Names that were refused, when to try again, and why.
    later: HashMap<String, (Instant, String)>,
    /// What was wrong at the last look: told once.
    told: BTreeSet<String>,
}

impl Looks {
    pub(super) fn new(watched: Watched) -> Self {
        Looks {
            watched,
            later: HashMap::new(),
            told: BTreeSet::new(),
        }
    }

    pub(super) fn run(&mut self, ended: &Receiver<()>) {
        loop {
            let mut troubles = BTreeSet::new();
            self.look(&mut troubles, Ending(ended));
            for trouble in troubles.difference(&self.told) {
                tracing::warn!("{trouble}");
            }
            self.told = troubles;
            if let Err(RecvTimeoutError::Disconnected) = ended.recv_timeout(LOOK_EVERY) {
                return;
            }
        }
    }

    fn look(&mut self, troubles: &mut BTreeSet<String>, ending: Ending<'_>) {
        let mut tell = |trouble: Trouble| _ = troubles.insert(trouble.to_string());
        let Looks { watched, later, .. } = self;
        let (listing, mut undelivered) = match watched.state() {
            Ok(state) => state,
            Err(trouble) => return tell(trouble),
        };
        let path = |file: &OsStr| watched.directory.join(file);
        let no_text = listing.no_text.iter();
        for file in no_text.filter(|file| names::looks_dropped(file)) {
            let why = "is not taken in: its name is not UTF-8 text";
            tell(not_taken(&path(file), why));
        }
        let is_under_way = |name: &str| undelivered.iter().any(|spooled| spooled.name == name);
        for file in names::strange_results(&listing.texts, is_under_way) {
            let why = "is not taken in: it has the name of a result, and is that of no batch";
            tell(not_taken(&path(file.as_ref()), why));
        }
        let intake = Intake {
            directory: &watched.directory,
            queue: &watched.queue,
            max_bytes: watched.max_file_bytes,
            longest_line: watched.longest_line,
            ending,
        };
        let now = Instant::now();
        later.retain(|_, (until, _)| *until > now);
        for name in names::dropped(&listing.texts).take_while(|_| !ending.has_come()) {
            if let Some(why) = watched.why_it_waits(name, &listing.texts, &undelivered) {
                tell(not_taken(&path(names::dropped_file(name).as_ref()), why));
            } else if !later.contains_key(name)
                && let Err(trouble) = intake.accept(name, &mut undelivered)
            {
                let again = (now + TRY_AGAIN, trouble.to_string());
                later.insert(name.to_owned(), again);
            }
        }
        let delivery = Delivery {
            directory: &watched.directory,
            queue: &watched.queue,
            ending,
        };
        for spooled in undelivered.iter().take_while(|_| !ending.has_come()) {
            // What hinders the rename was told.
            if !watched.is_not_renamed(spooled)
                && let Err(trouble) = delivery.deliver(spooled)
            {
                tell(trouble);
            }
        }
        troubles.extend(later.values().map(|(_, why)| why.clone()));
    }
}

impl Watched {
    /// What lies in the directory, and what is to come there.
    fn state(&self) -> Result<(Listing, Vec<Spooled>), Trouble> {
        let directory = &self.directory;
        let listing = listing(directory).map_err(file_trouble(directory, "cannot be listed"))?;
        let undelivered = self.queue.read_blocking(|reader| reader.undelivered());
        Ok((listing, undelivered.map_err(queue_trouble(directory))?))
    }

    fn why_it_waits(
        &self,
        name: &str,
        listing: &BTreeSet<String>,
        undelivered: &[Spooled],
    ) -> Option<String> {
        let path = self.directory.join(names::dropped_file(name));
        let is_this = |metadata: fs::Metadata| {
            let mut known = undelivered.iter();
            known.find(|spooled| place::may_be(&spooled.identity, &metadata))
        };
        match fs::symlink_metadata(path).ok().and_then(is_this) {
            // It was about to be renamed.
            Some(own) if own.name == name && !listing.contains(&names::accepted(name)) => {
                return None;
            }
            Some(other) if other.name != name => {
                let done = place::shown(names::done(&other.name));
                return Some(format!(
                    "is at work under another name: waits until {done} is there"
                ));
            }
            _ => {}
        }
        if !names::fits(name) {
            return Some("has too long a name: those of its results have no room".to_owned());
        }
        if let Some(other) = names::in_the_way(name, listing) {
            let other = place::shown(other);
            return Some(format!("waits until {other} is moved away"));
        }
        let before = undelivered.iter().find(|spooled| spooled.name == name)?;
        let batch = &before.batch.id;
        Some(format!(
            "waits for the results of {batch}, an earlier file of this name"
        ))
    }

    /// Whether the file of a batch has not got its new name yet.
    fn is_not_renamed(&self, spooled: &Spooled) -> bool {
        let is_there = |file: String| {
            let metadata = fs::symlink_metadata(self.directory.join(file));
            metadata.is_ok_and(|metadata| place::may_be(&spooled.identity, &metadata))
        };
        let name = &spooled.name;
        is_there(names::dropped_file(name)) && !is_there(names::accepted(name))
    }
}

/// The names in the directory.
#[derive(Default)]
struct Listing {
    texts: BTreeSet<String>,
    no_text: Vec<OsString>,
}

fn listing(directory: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for entry in fs::read_dir(directory)? {
        match entry?.file_name().into_string() {
            Ok(name) => _ = listing.texts.insert(name),
            Err(name) => listing.no_text.push(name),
        }
    }
    Ok(listing)
}
