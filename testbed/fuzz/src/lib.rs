//! What the fuzz targets share: the box of the lab's scene, and a peer that a fuzzer plays.
#![forbid(unsafe_code)]

pub mod peer;
pub mod scene;
