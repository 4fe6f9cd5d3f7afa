//! The verbs of `woollyctl` and `woolly`, one file each.
