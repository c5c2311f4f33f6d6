//! Which volumes exist and who may reach them: the settings, the service made from them, and how it
//! is controlled while it runs.

pub mod api;
mod export_name;
mod import;
mod jobs;
mod key_source;
mod metrics;
mod on_reactor;
mod qos_file;
mod remote;
mod service;
mod settings;
mod socket;
mod store_name;
mod stores;
mod tree_path;

pub use export_name::ExportName;
pub use key_source::KeySource;
pub use remote::Remote;
pub use service::Service;
pub use settings::{
    ControlSettings, RawSettings, Settings, StoreSettings, TlsSettings, check_threads,
};
pub use socket::default_control_path;
pub use store_name::StoreName;
pub use stores::{close_stores, open_store};
pub use tree_path::{BitmapPath, BitmapTarget, TreePath};
