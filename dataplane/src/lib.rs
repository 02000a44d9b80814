//! Ports, the App that is run over them, and the worker loop that joins both.
#![forbid(unsafe_code)]
