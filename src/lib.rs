#![doc = include_str!("ARCHITECTURE.md")]

pub mod base;

pub mod codec;
pub mod env;

pub mod backend;

pub mod store;

pub mod volume;

pub mod frontend;

pub mod control;

pub mod cli;
