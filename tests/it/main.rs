//! The one integration test binary. A test of its own binary costs a link each; a module here costs
//! nothing, so new test files become `mod` lines of this one.

mod backend_contract;
mod cipher;
mod control;
mod faulty_disk;
mod format;
mod format_garbage;
mod iscsi;
mod layering;
mod luks;
mod nfs;
mod qos;
mod qos_sessions;
mod raw_disk;
mod rbd;
mod reactor;
mod service;
mod sessions;
mod source;
mod store;
mod store_bitmaps;
mod store_check;
mod store_dedup;
mod store_image;
mod store_kit;
mod store_proof;
mod store_renewal;
mod store_words;
mod stored_disk;
mod tidy;
mod tracker;
