//! The daemon: start in order, stop in reverse; dispatch between queue and engine.
