//! A small disk of a test's own, which can be filled: a mounted tmpfs.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

const BYTES: &str = "size=64m";
static PIECE: [u8; 64 * 1024] = [0; 64 * 1024];

pub(crate) struct Disk(TempDir);

impl Disk {
    /// Mounts it, which needs root.
    pub(crate) fn mount() -> Self {
        let dir = TempDir::with_prefix("tidewire-disk-").unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", BYTES, "tidewire-test"])
            .arg(dir.path())
            .status();
        let mounted = mounted.expect("mount, of util-linux, is there");
        assert!(
            mounted.success(),
            "a disk that can be filled needs the right to mount one: run this as root, or leave the \
             tests of full_disks out with --skip full_disks::a_disk"
        );
        Self(dir)
    }

    /// A directory on it.
    pub(crate) fn store(&self) -> PathBuf {
        self.0.path().join("store")
    }

    /// Somebody else takes all the room that is left.
    pub(crate) fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.filler()).unwrap();
        let full = std::iter::repeat_with(|| file.write_all(&PIECE)).find_map(Result::err);
        assert_eq!(full.map(|error| error.kind()), Some(ErrorKind::StorageFull));
    }

    /// They give it back.
    pub(crate) fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(self.0.path());
    }
}

/// Lazily: a server that is about to end may have files open there.
fn unmount(dir: &Path) {
    Command::new("umount").arg("--lazy").arg(dir).status().ok();
}
