//! `.txnindex`: the aborted transactions whose marker lies in a segment. An entry is 34 bytes, big-endian: i16 version
//! 0, i64 producer id, i64 first offset, i64 last offset (the marker's), i64 last stable offset after it.

use crate::log::AbortedTxn;

const ENTRY_LEN: usize = 34;

pub(crate) fn encode_txns(txns: &[AbortedTxn]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(txns.len() * ENTRY_LEN);
    for txn in txns {
        bytes.extend_from_slice(&0i16.to_be_bytes());
        for field in [txn.producer_id, txn.first_offset, txn.last_offset, txn.last_stable_offset] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
    }
    bytes
}

/// `None` where the file is not of whole entries of version 0.
pub(crate) fn decode_txns(bytes: &[u8]) -> Option<Vec<AbortedTxn>> {
    let (raw, rest) = bytes.as_chunks::<ENTRY_LEN>();
    if !rest.is_empty() {
        return None;
    }
    raw.iter()
        .map(|entry| {
            let (version, fields) = entry.split_first_chunk::<2>()?;
            let (fields, _) = fields.as_chunks::<8>();
            let field = |i: usize| fields.get(i).map(|f| i64::from_be_bytes(*f));
            (i16::from_be_bytes(*version) == 0).then_some(())?;
            Some(AbortedTxn {
                producer_id: field(0)?,
                first_offset: field(1)?,
                last_offset: field(2)?,
                last_stable_offset: field(3)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_the_round_trip() {
        let txn = AbortedTxn { producer_id: 7, first_offset: 1, last_offset: 9, last_stable_offset: 5 };
        let bytes = encode_txns(&[txn, txn]);
        assert_eq!(bytes.len(), 68);
        assert_eq!(decode_txns(&bytes), Some(vec![txn, txn]));
        assert_eq!(decode_txns(&bytes[1..]), None);
    }
}
