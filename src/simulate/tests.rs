//! Seeds: each is a story of several runs in which anything goes wrong, told the same way every
//! time.
//!
//! `SHIPIT_SEEDS=10000` tells so many; `SHIPIT_SEED=4711` tells that one alone.

mod dice;
mod rehearsals;
mod seeds;
