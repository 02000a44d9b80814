//! Test networks: what simulated ones are made of here, real ones in namespaces in `lab/`, judges of captures in `judge/`.
#![forbid(unsafe_code)]

pub mod link;
pub mod peer;
pub mod scene;
