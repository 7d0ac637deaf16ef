//! Directories that look like ours and are not ready to be served: Apache Kafka's, whose metadata is in another form, and
//! those into which an import was interrupted. Found before anything in them is changed.

use crate::disk::Disk;
use crate::error::OpenError;

/// Apache Kafka's metadata logs: since 3.0 under the name that ours has, in the preview of 2.8 under one of its own.
const KAFKA_3: &str = "__cluster_metadata-0";
const KAFKA_2_8: &str = "@metadata-0";
/// Kafka's quorum keeps its vote here; ours has no such file.
const QUORUM_STATE: &str = "quorum-state";
/// The file that is there while an import brings partitions and metadata together: no broker opens the directory then.
pub const UNFINISHED_IMPORT: &str = "import-unfinished";

/// Refuses what must not be loaded as it is. `importing`: the caller is the import itself.
pub(super) fn check(disk: &Disk, importing: bool) -> Result<(), OpenError> {
    let path = disk.root().to_path_buf();
    if !importing && disk.exists(&path.join(UNFINISHED_IMPORT)) {
        return Err(OpenError::UnfinishedImport { path });
    }
    if disk.exists(&path.join(KAFKA_2_8)) {
        return Err(OpenError::KafkasMetadata { path, found: KAFKA_2_8 });
    }
    let metadata = path.join(KAFKA_3);
    if disk.exists(&metadata) {
        let names = disk.list(&metadata)?;
        if names.iter().any(|entry| entry.name == QUORUM_STATE || entry.name.ends_with(".checkpoint")) {
            return Err(OpenError::KafkasMetadata { path, found: KAFKA_3 });
        }
    }
    Ok(())
}
