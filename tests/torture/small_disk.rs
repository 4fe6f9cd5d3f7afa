//! A real file system that is full.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory of any size.
pub struct SmallDisk {
    pub path: PathBuf,
}

impl SmallDisk {
    /// `None` where that is not allowed: it needs root.
    pub fn mount(path: &Path) -> Option<Self> {
        std::fs::create_dir(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m,mode=0700", "none"])
            .arg(path)
            .output();
        let path = path.to_path_buf();
        mounted
            .is_ok_and(|output| output.status.success())
            .then_some(SmallDisk { path })
    }

    pub fn resize(&self, kib: usize) {
        let option = format!("remount,size={kib}k");
        let done = Command::new("mount")
            .args(["-o", &option])
            .arg(&self.path)
            .status();
        assert!(done.unwrap().success(), "{option}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.path).status();
    }
}
