//! Where an image is, and how people write that.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::backend::url::{Options, split_options};

/// `POOL[/NAMESPACE]/IMAGE[?conf=FILE&id=USER&timeout=SECONDS]`: an image in a Ceph cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RbdPlace {
    /// The pool that the image is in.
    pub pool: String,
    /// The namespace in it, if not the one without a name.
    pub namespace: Option<String>,
    /// The name of the image.
    pub image: String,
    /// The configuration that says where the cluster is; where Ceph looks for it without.
    pub conf: Option<PathBuf>,
    /// The user, without `client.`; what the configuration says, or `admin`, without.
    pub id: Option<String>,
    /// How long requests wait for the cluster.
    pub timeout: Duration,
}

impl RbdPlace {
    /// Reads what follows `rbd:`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(in crate::backend) fn parse(text: &str) -> Result<Self, String> {
        let (path, mut options) = split_options(text)?;
        let parts: Vec<&str> = path.split('/').collect();
        let named = |name: &str| match name.is_empty() || name.contains('@') {
            true => Err("it is not POOL/IMAGE or POOL/NAMESPACE/IMAGE".to_owned()),
            false => Ok(name.to_owned()),
        };
        let (pool, namespace, image) = match parts[..] {
            [pool, image] => (pool, None, image),
            [pool, namespace, image] => (pool, Some(named(namespace)?), image),
            _ => ("", None, ""),
        };
        let place = Self {
            pool: named(pool)?,
            namespace,
            image: named(image)?,
            conf: options.take("conf").map(PathBuf::from),
            id: options.take("id"),
            timeout: options.take_timeout()?,
        };
        options.end()?;
        Ok(place)
    }
}

impl fmt::Display for RbdPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rbd:{}/", self.pool)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.image)?;
        let conf = self.conf.as_ref().map(|conf| conf.display().to_string());
        let timeout = Options::shown_timeout(self.timeout);
        let options = [
            ("conf", conf.as_deref()),
            ("id", self.id.as_deref()),
            ("timeout", timeout.as_deref()),
        ];
        Options::show(&options, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_shown() {
        for text in [
            "vms/main",
            "vms/tenant/main",
            "vms/main?conf=/etc/ceph/b.conf",
            "vms/main?conf=/etc/ceph/b.conf&id=bedplate&timeout=30",
        ] {
            let place = RbdPlace::parse(text).expect(text);
            assert_eq!(place.to_string(), format!("rbd:{text}"));
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        for text in [
            "",
            "vms",
            "/main",
            "vms/",
            "a/b/c/d",
            "a//b",
            "vms/main@snap",
            "vms/main?pool=x",
            "vms/main?id",
            "vms/main?id=a&id=b",
            "vms/main?id=",
        ] {
            assert!(RbdPlace::parse(text).is_err(), "{text}");
        }
    }
}
