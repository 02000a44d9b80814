//! A whole network in virtual time, from one seed: hosts that we did not write, the two boxes as they run on a network
//! card, links and middleboxes with every fault that the field has shown, and what must hold whatever they do.
#![forbid(unsafe_code)]

pub mod aggregation;
pub mod app;
pub mod cable;
pub mod card;
pub mod ecn;
pub mod fault;
pub mod host;
pub mod keys;
pub mod lane;
pub mod middlebox;
pub mod native;
pub mod node;
pub mod offload;
pub mod oracle;
pub mod packet;
pub mod plan;
pub mod port;
pub mod probes;
pub mod rules;
pub mod run;
pub mod scene;
pub mod seed;
pub mod stream;
pub mod trace;
pub mod watch;
pub mod world;
