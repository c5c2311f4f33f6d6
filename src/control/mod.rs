//! Which volumes exist and who may reach them: the settings, and the service made from them.

mod export_name;
mod service;
mod settings;

pub use export_name::ExportName;
pub use service::Service;
pub use settings::{RawSettings, Settings, TlsSettings, check_threads};
