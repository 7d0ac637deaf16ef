//! Log directories before they are opened: whose they are, and whether two are one.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::checkpoint::{META_PROPERTIES, decode_meta};
use crate::disk::{read_unopened, real_path};
use crate::error::OpenError;

/// The cluster that a directory belongs to; `None` if it is fresh or not there.
///
/// # Errors
/// It cannot be read, or its `meta.properties` cannot be understood.
pub fn cluster_id_of(root: &Path) -> Result<Option<String>, OpenError> {
    let path = root.join(META_PROPERTIES);
    let Some(bytes) = read_unopened(&path)? else { return Ok(None) };
    let meta = decode_meta(&bytes, Uuid::nil()).map_err(|reason| OpenError::BadFile { path, reason })?;
    Ok(Some(meta.cluster_id))
}

/// The first two of the paths that name one directory, be it by way of a link.
pub fn same_directory(paths: &[PathBuf]) -> Option<(PathBuf, PathBuf)> {
    let real: Vec<PathBuf> = paths.iter().map(|path| real_path(path)).collect();
    let twice = |at: &usize| real[..*at].iter().position(|before| *before == real[*at]);
    (0..real.len()).find_map(|at| Some((paths[twice(&at)?].clone(), paths[at].clone())))
}
