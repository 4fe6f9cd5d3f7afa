//! How much memory this process may still take: what the machine has left, and what the control groups
//! around the process (version 1 and 2) leave of their limits.
//!
//! Invariant: whatever cannot be read limits nothing. A wrong guess here must never keep a model that
//! fits from running; the allocation itself has the last word.

use std::fs;
use std::path::{Path, PathBuf};

use super::Error;

/// Refuses what is more than is left.
pub(super) fn check_memory(needed: u64, available: Option<u64>) -> Result<(), Error> {
    match available {
        Some(available) if needed > available => Err(Error::NoMemory {
            bytes: needed,
            available,
        }),
        _ => Ok(()),
    }
}

/// Bytes that this process may still take, file pages that the system would drop for it included.
/// `None` where the system does not tell.
pub fn available_memory() -> Option<u64> {
    available_below(Path::new("/"))
}

/// The same from the files below another root.
fn available_below(root: &Path) -> Option<u64> {
    let machine = field(&root.join("proc/meminfo"), "MemAvailable:").map(|kib| kib * 1024);
    let own = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let groups = groups(&own);
    let left = groups.iter().filter_map(|group| group.left(root));
    left.chain(machine).min()
}

/// A control group that may limit memory.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    version: &'static Version,
    /// Below the mount point.
    path: PathBuf,
}

/// Where a version of control groups is mounted, by convention, and what its files are called.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    mount: &'static str,
    limit: &'static str,
    used: &'static str,
    /// Fields of `memory.stat`: pages of files, which are dropped when memory is short.
    files: [&'static str; 2],
}

const V1: Version = Version {
    mount: "sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    files: ["total_inactive_file", "total_active_file"],
};

const V2: Version = Version {
    mount: "sys/fs/cgroup",
    limit: "memory.max",
    used: "memory.current",
    files: ["inactive_file", "active_file"],
};

/// The groups that `/proc/self/cgroup` names, and all around them: a limit holds for everything below.
/// In a container the path may be that of the host while the mount point is the container's own group;
/// then the inner directories do not exist, and the mount point, which is always asked, counts.
fn groups(own: &str) -> Vec<Group> {
    let mut groups = vec![];
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let version = match controllers {
            "" => &V2,
            list if list.split(',').any(|name| name == "memory") => &V1,
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        groups.extend(path.ancestors().map(|path| Group {
            version,
            path: path.to_path_buf(),
        }));
    }
    groups
}

impl Group {
    /// `None` without a limit.
    fn left(&self, root: &Path) -> Option<u64> {
        let directory = root.join(self.version.mount).join(&self.path);
        let number = |name| {
            fs::read_to_string(directory.join(name))
                .ok()?
                .trim()
                .parse()
                .ok()
        };
        let (limit, used): (u64, u64) = (number(self.version.limit)?, number(self.version.used)?);
        let stat = directory.join("memory.stat");
        let files: u64 = self
            .version
            .files
            .iter()
            .filter_map(|name| field(&stat, name))
            .sum();
        Some(limit.saturating_sub(used.saturating_sub(files)))
    }
}

/// The number behind `name` in a file of names and numbers.
fn field(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    lines.find_map(|mut words| (words.next()? == name).then(|| words.next()?.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MACHINE: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:  9000 kB\nMemAvailable:    5000 kB\nCached: 1 kB\n",
    );

    #[test]
    fn without_limits_the_machine_decides() {
        assert_eq!(available_below(root(&[]).path()), None);
        assert_eq!(available_below(root(&[MACHINE]).path()), Some(5_120_000));
        let unlimited = root(&[
            MACHINE,
            ("proc/self/cgroup", "0::/user.slice\n"),
            ("sys/fs/cgroup/user.slice/memory.max", "max\n"),
            ("sys/fs/cgroup/user.slice/memory.current", "70\n"),
        ]);
        assert_eq!(available_below(unlimited.path()), Some(5_120_000));
    }

    #[test]
    fn a_group_leaves_its_limit_without_what_cannot_be_dropped() {
        let root = root(&[
            MACHINE,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/b/memory.max", "1000000\n"),
            ("sys/fs/cgroup/a/b/memory.current", "700000\n"),
            (
                "sys/fs/cgroup/a/b/memory.stat",
                "anon 5\ninactive_file 100000\nactive_file 50000\n",
            ),
        ]);
        assert_eq!(available_below(root.path()), Some(450_000));
    }

    #[test]
    fn the_tightest_group_around_the_process_counts() {
        let root = root(&[
            MACHINE,
            (
                "proc/self/cgroup",
                "3:cpu:/x\n2:cpuacct,memory:/a/b\n0::/\n",
            ),
            (
                "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            ("sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "1\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "900\n"),
            ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "800\n"),
            (
                "sys/fs/cgroup/memory/a/memory.stat",
                "inactive_file 7\ntotal_inactive_file 40\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "5000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "4000\n"),
        ]);
        assert_eq!(available_below(root.path()), Some(140));
    }

    #[test]
    fn a_container_without_the_path_of_its_host_counts_its_mount_point() {
        let root = root(&[
            ("proc/self/cgroup", "4:memory:/docker/0123\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "3000"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "3500"),
        ]);
        assert_eq!(available_below(root.path()), Some(0));
    }

    #[test]
    fn what_is_more_than_is_left_is_refused_with_both_numbers() {
        let gib = 1 << 30;
        assert!(check_memory(gib, None).is_ok());
        assert!(check_memory(gib, Some(gib)).is_ok());
        let error = check_memory(27 * gib, Some(21 * gib + gib / 2)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the weights need 27.0 GiB of memory, and 21.5 GiB are available"
        );
    }
}
