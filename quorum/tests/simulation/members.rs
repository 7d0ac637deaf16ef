//! Who belongs to the quorum, and who does not.
