//! Simulated and real test networks.
