//! The broker as a whole: builds the parts, and owns the order in which they start and stop.
