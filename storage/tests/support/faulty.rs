//! A disk that fails as disks do: behind the crate's file trait, with real files beneath (segments are mapped), and a
//! record of what of them would be there after the power was cut.
//!
//! What is durable: the bytes and the length of a file as of its last sync, and the names of a directory as of its
//! last sync. A cut keeps, of everything since, a part that is drawn: of the changes of a directory the first so many
//! in their order (as journals do), of the bytes of a file any of its sectors or pages, of its length anything between.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Mutex;

use jackdaw_storage::{FileSystem, OpenMode, Operation};
use rand::Rng;
use rand::rngs::StdRng;
use rustix::io::Errno;

/// The system as it is.
pub(crate) struct System;

impl FileSystem for System {}

type Inode = u64;

#[derive(Debug, Clone)]
enum Change {
    Put(String, Inode),
    Remove(String),
    Rename(String, String),
}

/// A directory, or a file if it has no names.
struct Node {
    /// Held so that the number is nobody else's while this is known.
    file: File,
    is_dir: bool,
    durable_names: BTreeMap<String, Inode>,
    changes: Vec<Change>,
    durable_bytes: Vec<u8>,
    /// Ranges written or cut since the last sync.
    dirty: Vec<(u64, u64)>,
}

impl Node {
    fn apply(names: &mut BTreeMap<String, Inode>, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Put(name, inode) => {
                    names.insert(name.clone(), *inode);
                }
                Change::Remove(name) => {
                    names.remove(name);
                }
                Change::Rename(from, to) => {
                    if let Some(inode) = names.remove(from) {
                        names.insert(to.clone(), inode);
                    }
                }
            }
        }
    }

    fn sync_names(&mut self) {
        let changes = std::mem::take(&mut self.changes);
        Node::apply(&mut self.durable_names, &changes);
    }

    fn sync_bytes(&mut self) {
        let len = self.file.metadata().unwrap().len();
        self.durable_bytes.resize(len as usize, 0);
        for (from, to) in std::mem::take(&mut self.dirty) {
            let (from, to) = (from.min(len), to.min(len));
            let range = &mut self.durable_bytes[from as usize..to as usize];
            self.file.read_exact_at(range, from).unwrap();
        }
    }

    /// What a cut leaves of a file.
    fn bytes_after_cut(&self, rng: &mut StdRng) -> Vec<u8> {
        if self.dirty.is_empty() {
            return self.durable_bytes.clone();
        }
        let (old, new) = (&self.durable_bytes, read_whole(&self.file));
        let (shorter, longer) = (old.len().min(new.len()), old.len().max(new.len()));
        let len = match rng.random_range(0..3) {
            0 => old.len(),
            1 => new.len(),
            _ => rng.random_range(shorter..=longer),
        };
        let sector = if rng.random_bool(0.5) { 512 } else { 4096 };
        let kept = [0.0, 0.5, 0.95, 1.0][rng.random_range(0..4)];
        let mut bytes = vec![0; len];
        for start in (0..len).step_by(sector) {
            let end = (start + sector).min(len);
            let is_dirty = self.dirty.iter().any(|&(from, to)| from < end as u64 && start as u64 <= to);
            let source = if is_dirty && rng.random_bool(kept) { &new } else { old };
            // What a file was never given reads as zeros.
            if let Some(present) = source.get(start..end.min(source.len())) {
                bytes[start..start + present.len()].copy_from_slice(present);
            }
        }
        bytes
    }
}

fn read_whole(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

struct State {
    nodes: HashMap<Inode, Node>,
    root: Inode,
    /// Changing operations until the power is cut.
    power_left: Option<u64>,
    /// Bytes that fit.
    room: Option<u64>,
}

/// See the module.
pub(crate) struct Faulty(Mutex<State>);

impl Faulty {
    /// A disk on which all of `root` is durable.
    pub(crate) fn new(root: &Path) -> Faulty {
        let mut state = State { nodes: HashMap::new(), root: 0, power_left: None, room: None };
        state.root = state.learn(root);
        Faulty(Mutex::new(state))
    }

    /// After so many more changing operations, nothing works any more.
    pub(crate) fn cut_power_after(&self, operations: u64) {
        self.0.lock().unwrap().power_left = Some(operations);
    }

    pub(crate) fn is_off(&self) -> bool {
        self.0.lock().unwrap().power_left == Some(0)
    }

    /// So many bytes fit from now on; `None` for any.
    pub(crate) fn set_room(&self, room: Option<u64>) {
        self.0.lock().unwrap().room = room;
    }

    /// Writes what a cut at this moment leaves into the empty directory `to`.
    pub(crate) fn materialize(&self, to: &Path, rng: &mut StdRng) {
        let state = self.0.lock().unwrap();
        state.materialize(state.root, to, rng);
    }
}

impl State {
    /// Takes in what is there, as durable.
    fn learn(&mut self, path: &Path) -> Inode {
        let file = File::open(path).unwrap();
        let meta = file.metadata().unwrap();
        let mut durable_names = BTreeMap::new();
        if meta.is_dir() {
            for entry in std::fs::read_dir(path).unwrap() {
                let entry = entry.unwrap();
                durable_names.insert(entry.file_name().into_string().unwrap(), self.learn(&entry.path()));
            }
        }
        let durable_bytes = if meta.is_dir() { Vec::new() } else { read_whole(&file) };
        let (changes, dirty) = (Vec::new(), Vec::new());
        let node = Node { file, is_dir: meta.is_dir(), durable_names, changes, durable_bytes, dirty };
        self.nodes.insert(meta.ino(), node);
        meta.ino()
    }

    fn node(&mut self, inode: Inode) -> &mut Node {
        self.nodes.get_mut(&inode).expect("every file was opened here")
    }

    fn parent(&mut self, path: &Path) -> &mut Node {
        let inode = std::fs::metadata(path.parent().unwrap()).unwrap().ino();
        self.node(inode)
    }

    fn name_changed(&mut self, path: &Path, change: Change) {
        self.parent(path).changes.push(change);
    }

    fn materialize(&self, inode: Inode, to: &Path, rng: &mut StdRng) {
        let node = &self.nodes[&inode];
        let mut names = node.durable_names.clone();
        Node::apply(&mut names, &node.changes[..rng.random_range(0..=node.changes.len())]);
        for (name, inode) in names {
            let (path, node) = (to.join(name), &self.nodes[&inode]);
            if node.is_dir {
                std::fs::create_dir(&path).unwrap();
                self.materialize(inode, &path, rng);
            } else {
                std::fs::write(&path, node.bytes_after_cut(rng)).unwrap();
            }
        }
    }

    fn check_room(&self) -> io::Result<()> {
        if self.room == Some(0) { Err(Errno::NOSPC.into()) } else { Ok(()) }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl FileSystem for Faulty {
    fn before(&self, _: Operation, _: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        match &mut state.power_left {
            None => Ok(()),
            Some(0) => Err(Errno::IO.into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<File> {
        let mut state = self.0.lock().unwrap();
        let is_new = mode != OpenMode::Existing && !path.exists();
        if is_new {
            state.check_room()?;
        }
        let len = std::fs::metadata(path).map_or(0, |meta| meta.len());
        let file = System.open(path, mode)?;
        let inode = file.metadata()?.ino();
        if is_new {
            state.learn(path);
            state.name_changed(path, Change::Put(name_of(path), inode));
        } else if mode == OpenMode::Replace {
            state.node(inode).dirty.push((0, len));
        }
        Ok(file)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.check_room()?;
        System.create_dir(path)?;
        let inode = state.learn(path);
        state.name_changed(path, Change::Put(name_of(path), inode));
        Ok(())
    }

    fn write_at(&self, file: &File, _: &Path, parts: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap();
        state.check_room()?;
        let mut bytes = Vec::new();
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        if let Some(room) = &mut state.room {
            bytes.truncate(*room as usize);
            *room -= bytes.len() as u64;
        }
        if state.power_left == Some(0) {
            bytes.truncate(bytes.len() / 2); // the cut comes in the middle of it
        }
        file.write_all_at(&bytes, position)?;
        let inode = file.metadata()?.ino();
        state.node(inode).dirty.push((position, position + bytes.len() as u64));
        Ok(bytes.len())
    }

    fn reserve(&self, _: &File, _: &Path, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, file: &File, _: &Path, len: u64) -> io::Result<()> {
        let meta = file.metadata()?;
        if meta.len() != len {
            file.set_len(len)?;
            self.0.lock().unwrap().node(meta.ino()).dirty.push((len.min(meta.len()), len.max(meta.len())));
        }
        Ok(())
    }

    fn sync(&self, file: &File, _: &Path) -> io::Result<()> {
        self.0.lock().unwrap().node(file.metadata()?.ino()).sync_bytes();
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let inode = std::fs::metadata(path)?.ino();
        self.0.lock().unwrap().node(inode).sync_names();
        Ok(())
    }

    fn sync_all(&self, _: &File, _: &Path) -> io::Result<()> {
        for node in self.0.lock().unwrap().nodes.values_mut() {
            if node.is_dir {
                node.sync_names();
            } else {
                node.sync_bytes();
            }
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        assert_eq!(from.parent(), to.parent(), "a rename between directories is not atomic on every disk");
        System.rename(from, to)?;
        self.0.lock().unwrap().name_changed(from, Change::Rename(name_of(from), name_of(to)));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        System.remove_file(path)?;
        self.0.lock().unwrap().name_changed(path, Change::Remove(name_of(path)));
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        System.remove_dir_all(path)?;
        self.0.lock().unwrap().name_changed(path, Change::Remove(name_of(path)));
        Ok(())
    }
}
