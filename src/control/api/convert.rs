//! What is known of volumes and stores, as messages, and back.

use std::collections::BTreeMap;

use tonic::Status;

use super::proto;
use crate::env;
use crate::frontend::nbd::proto::TlsPolicy;
use crate::frontend::ublk::Attached;
use crate::store::{
    Compression, Dedup, Properties, RenewalProgress, Store, StoreError, TreeInfo, TreeKind,
};
use crate::volume::{OpCounts, OpKind, Served, UserCount};

/// Makes `properties` what `wanted` says; what that leaves out stays as it is.
///
/// # Errors
/// For a number that stands for nothing.
pub(super) fn apply(
    wanted: Option<&proto::Properties>,
    properties: &mut Properties,
) -> Result<(), Status> {
    let Some(wanted) = wanted else {
        return Ok(());
    };
    let unknown = |what| Status::invalid_argument(format!("no such kind of {what}"));
    let compression = proto::Compression::try_from(wanted.compression);
    match compression.map_err(|_| unknown("compression"))? {
        proto::Compression::Unspecified => {}
        proto::Compression::Adaptive => properties.compression = Compression::Adaptive,
        proto::Compression::Lz4 => properties.compression = Compression::Lz4,
        proto::Compression::Zstd => properties.compression = Compression::Zstd,
        proto::Compression::Off => properties.compression = Compression::Off,
    }
    let dedup = proto::Dedup::try_from(wanted.dedup);
    match dedup.map_err(|_| unknown("deduplication"))? {
        proto::Dedup::Unspecified => {}
        proto::Dedup::On => properties.dedup = Dedup::On,
        proto::Dedup::Verify => properties.dedup = Dedup::Verify,
        proto::Dedup::Off => properties.dedup = Dedup::Off,
    }
    if let Some(write_through) = wanted.write_through {
        properties.write_through = write_through;
    }
    Ok(())
}

impl TryFrom<&proto::Properties> for Properties {
    type Error = Status;

    fn try_from(told: &proto::Properties) -> Result<Self, Status> {
        let mut properties = Self::default();
        apply(Some(told), &mut properties)?;
        Ok(properties)
    }
}

impl From<Properties> for proto::Properties {
    fn from(properties: Properties) -> Self {
        Self {
            compression: proto::Compression::from(properties.compression).into(),
            dedup: proto::Dedup::from(properties.dedup).into(),
            write_through: Some(properties.write_through),
        }
    }
}

impl From<Compression> for proto::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::Adaptive => Self::Adaptive,
            Compression::Lz4 => Self::Lz4,
            Compression::Zstd => Self::Zstd,
            Compression::Off => Self::Off,
        }
    }
}

impl From<Dedup> for proto::Dedup {
    fn from(dedup: Dedup) -> Self {
        match dedup {
            Dedup::On => Self::On,
            Dedup::Verify => Self::Verify,
            Dedup::Off => Self::Off,
        }
    }
}

/// What is told about those volumes and snapshots of `served` that are `wanted`.
pub(super) fn volumes(served: &Served, wanted: impl Fn(&TreeInfo) -> bool) -> Vec<proto::Volume> {
    let users = served.users();
    let trees = served.store().list();
    let trees = trees.iter().filter(|tree| wanted(tree));
    trees.map(|tree| volume(served, &users, tree)).collect()
}

fn volume(served: &Served, users: &BTreeMap<String, UserCount>, tree: &TreeInfo) -> proto::Volume {
    let name = served.export_name(&tree.name);
    let kind = match tree.kind {
        TreeKind::Volume => proto::volume::Kind::Volume,
        TreeKind::Snapshot => proto::volume::Kind::Snapshot,
        TreeKind::Ghost => unreachable!("bitmaps are in a list of their own"),
    };
    let connections = users.get(&name).map_or(0, |users| users.connections);
    proto::Volume {
        name,
        kind: kind.into(),
        size: tree.size,
        created: tree.created,
        origin: tree.origin.as_ref().map(|name| served.export_name(name)),
        properties: Some(tree.properties.into()),
        connections: connections as u64,
        held: tree.space.map(|space| proto::Held {
            mapped: space.mapped,
            stored: space.stored,
        }),
    }
}

/// What is told about a store.
pub(super) fn store(served: &Served) -> proto::Store {
    let store = served.store();
    let (shape, usage, traffic, counts, trees) = (
        store.shape(),
        store.usage(),
        store.traffic(),
        store.counts(),
        store.list(),
    );
    let volumes = trees.iter().filter(|tree| tree.kind == TreeKind::Volume);
    let volumes = volumes.count();
    proto::Store {
        name: served.name().to_owned(),
        url: served.url().to_owned(),
        size: shape.bytes(),
        segment_size: shape.seg_bytes(),
        volumes: volumes as u64,
        snapshots: (trees.len() - volumes) as u64,
        connections: served.user_count().connections as u64,
        usage: Some(proto::Usage {
            logical: usage.logical,
            physical: usage.physical,
            free: usage.free,
            written: usage.written,
            live: usage.live,
            reserve: usage.reserve,
        }),
        traffic: Some(proto::Traffic {
            clients: traffic.clients,
            deduplicated: traffic.deduplicated,
            new: traffic.new,
            log: traffic.log,
            moved: traffic.moved,
            repacked: traffic.repacked,
            metadata: traffic.metadata,
            passes: traffic.passes,
        }),
        problem: problem(served).unwrap_or_default(),
        activity: Some(proto::Activity {
            checkpoints: counts.checkpoints,
            cache_hits: counts.cache_hits,
            cache_misses: counts.cache_misses,
            log_stalls: counts.stalls.log,
            checkpoint_stalls: counts.stalls.checkpoint,
            space_stalls: counts.stalls.space,
            operation_stalls: counts.stalls.operation,
        }),
        counted: store.counted().map(|counted| proto::Counted {
            mapped: counted.space.mapped,
            unique: counted.space.unique,
            stored: counted.space.stored,
            age: (env::now() - counted.at).as_secs(),
            is_estimate: counted.is_estimate,
        }),
        renewal: renewal(store),
    }
}

/// How far the renewal is that is under way in a store, if one is.
pub(super) fn renewal(store: &Store) -> Option<proto::Renewal> {
    let RenewalProgress { of, done } = store.renewal()?;
    Some(proto::Renewal { total: of, done })
}

/// What is told about the requests of one kind.
pub(super) fn op(kind: OpKind, counts: &OpCounts) -> proto::OpCounts {
    use proto::op_counts::Kind;
    let kind = match kind {
        OpKind::Read => Kind::Read,
        OpKind::Write => Kind::Write,
        OpKind::WriteZeroes => Kind::WriteZeroes,
        OpKind::Discard => Kind::Discard,
        OpKind::Flush => Kind::Flush,
        OpKind::Other => Kind::Other,
    };
    proto::OpCounts {
        kind: kind.into(),
        bytes: counts.bytes,
        errors: counts.errors,
        latency: counts.latency_ns,
        latencies: counts.latency.to_vec(),
    }
}

/// From how full on a store is said to be nearly full, in percent of what can hold data: garbage
/// collection moves more and more for the same room.
const FULL_PERCENT: u128 = 85;

fn problem(served: &Served) -> Option<String> {
    let store = served.store();
    if let Err(error) = store.health() {
        return Some(match error {
            StoreError::Closed => "it is closed".to_owned(),
            error => format!("{error}; close it, check the disk beneath it, open it again"),
        });
    }
    let usage = store.usage();
    let room = u128::from(usage.physical.saturating_sub(usage.reserve).max(1));
    let percent = u128::from(usage.live) * 100 / room;
    let is_full = percent >= FULL_PERCENT;
    is_full.then(|| format!("{percent} % full; delete what is not needed, or grow it"))
}

/// Whether NBD clients use TLS.
pub(super) fn tls(policy: TlsPolicy) -> proto::Tls {
    match policy {
        TlsPolicy::Off => proto::Tls::Off,
        TlsPolicy::Optional => proto::Tls::Optional,
        TlsPolicy::Required => proto::Tls::Required,
    }
}

/// A block device.
pub(super) fn device(attached: Attached) -> proto::Device {
    proto::Device {
        number: attached.number,
        name: attached.volume,
        queues: attached.queues.into(),
        depth: attached.depth.into(),
        read_only: attached.is_read_only,
        zero_copy: attached.is_zero_copy,
    }
}
