//! Which volumes exist and who may reach them: the settings, and the service made from them.

mod export_name;
mod key_source;
mod metrics;
mod qos_file;
mod service;
mod settings;
mod store_name;
mod stores;

pub use export_name::ExportName;
pub use key_source::KeySource;
pub use service::Service;
pub use settings::{RawSettings, Settings, StoreSettings, TlsSettings, check_threads};
pub use store_name::StoreName;
pub use stores::open_store;
