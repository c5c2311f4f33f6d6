//! The control API of a whole service in this process, through its real socket.

use std::fs::File;
use std::future::Future;
use std::path::PathBuf;

use bedplate::backend::{self, Access, Location};
use bedplate::control::api::proto;
use bedplate::control::api::proto::jobs_client::JobsClient;
use bedplate::control::api::proto::snapshots_client::SnapshotsClient;
use bedplate::control::api::proto::volumes_client::VolumesClient;
use bedplate::control::{ControlSettings, Remote, Service, Settings, StoreName, StoreSettings};
use bedplate::env;
use bedplate::store::{self, Creation};
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// A service of one store, `main`, in files that go away with it.
struct Rig {
    folder: PathBuf,
    service: Option<Service>,
}

impl Rig {
    fn start(name: &str) -> Self {
        let folder = format!("/tmp/bedplate-control-{name}-{}", std::process::id());
        let folder = PathBuf::from(folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let image = folder.join("store.img");
        let file = File::create(&image).expect("a file");
        file.set_len(256 << 20).expect("a sparse file");
        let location = Location::File(image);
        let made = env::block_on(async move {
            let backend = backend::open(&location, Access::Write).await;
            store::create(backend.expect("a backend"), Creation::default()).await
        });
        made.expect("a reactor").expect("a store");
        let mut rig = Self {
            folder,
            service: None,
        };
        rig.serve();
        rig
    }

    fn serve(&mut self) {
        let name = StoreName::new("main").expect("a good name");
        let store = StoreSettings::new(Location::File(self.folder.join("store.img")));
        let settings = Settings {
            threads: Some(2),
            stores: [(name, store)].into(),
            control: Some(ControlSettings::At(self.socket())),
            ..Settings::default()
        };
        let service = Service::start(&settings).unwrap_or_else(|error| panic!("{error}"));
        self.service = Some(service);
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    fn connect(&self) -> Remote {
        Remote::connect(&self.socket()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn stop(&mut self) {
        let service = self.service.take().expect("it runs");
        service.stop().unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.service.take());
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Makes a call on a runtime of the test's own.
fn call<T, F>(remote: &Remote, make: impl FnOnce(Channel) -> F) -> Result<T, Status>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Status>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(remote.call(make))
}

fn create(remote: &Remote, name: &str) -> Result<(), Status> {
    let message = proto::CreateVolumeRequest {
        name: name.to_owned(),
        size: 1 << 20,
        properties: None,
    };
    call(remote, |channel| async move {
        VolumesClient::new(channel).create(message).await.map(drop)
    })
}

fn names(remote: &Remote) -> Vec<String> {
    let listed = call(remote, |channel| async move {
        let message = proto::ListVolumesRequest::default();
        let answer = VolumesClient::new(channel).list(message).await?;
        Ok(answer.into_inner().volumes)
    });
    let volumes = listed.expect("a list").into_iter();
    volumes.map(|volume| volume.name).collect()
}

fn snapshots(remote: &Remote, volume: &str) -> Vec<String> {
    let volume = volume.to_owned();
    let listed = call(remote, |channel| async move {
        let message = proto::ListSnapshotsRequest { volume };
        let answer = SnapshotsClient::new(channel).list(message).await?;
        Ok(answer.into_inner().snapshots)
    });
    let snapshots = listed.expect("a list").into_iter();
    snapshots.map(|snapshot| snapshot.name).collect()
}

#[test]
fn what_is_wrong_has_a_code_for_programs() {
    let mut rig = Rig::start("codes");
    let remote = rig.connect();
    create(&remote, "main/a").expect("a volume");
    for (name, code) in [
        ("main/a", Code::AlreadyExists),
        ("other/a", Code::NotFound),
        ("main", Code::InvalidArgument),
        ("main/a@b", Code::InvalidArgument),
        ("main/.a", Code::InvalidArgument),
        ("/a", Code::InvalidArgument),
    ] {
        let status = create(&remote, name).expect_err(name);
        assert_eq!(status.code(), code, "{name}: {status}");
        assert!(!status.message().is_empty() && !status.message().contains('\n'));
    }
    let odd = call(&remote, |channel| async move {
        let message = proto::SetVolumeRequest {
            name: "main/a".to_owned(),
            properties: Some(proto::Properties {
                compression: 77,
                ..proto::Properties::default()
            }),
        };
        VolumesClient::new(channel).set(message).await.map(drop)
    });
    assert_eq!(odd.expect_err("no such kind").code(), Code::InvalidArgument);
    rig.stop();
}

/// Callers that vanish at every moment of a call: each snapshot of two volumes is there in both or
/// in neither, and so it is after the store was closed and opened again.
#[test]
fn a_call_that_nobody_waits_for_is_done_or_not_done() {
    let mut rig = Rig::start("vanish");
    let remote = rig.connect();
    for name in ["main/a", "main/b"] {
        create(&remote, name).expect("a volume");
    }
    for round in 0..100_u32 {
        let caller = rig.connect();
        let names = ["a", "b"].map(|volume| format!("main/{volume}@r{round}"));
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let message = proto::CreateSnapshotsRequest {
                names: names.to_vec(),
                bitmap: None,
            };
            let taken = caller.call(|channel| async move {
                SnapshotsClient::new(channel)
                    .create(message)
                    .await
                    .map(drop)
            });
            let patience = std::time::Duration::from_micros(u64::from(round) * 50);
            // Either is right: it came, or it is given up.
            let _ = tokio::time::timeout(patience, taken).await;
        });
        drop(caller);
    }
    let before = [snapshots(&remote, "main/a"), snapshots(&remote, "main/b")];
    let rounds = |names: &[String]| -> Vec<String> {
        let rounds = names.iter().map(|name| name.rsplit('@').next());
        rounds
            .map(|round| round.expect("a name").to_owned())
            .collect()
    };
    assert_eq!(rounds(&before[0]), rounds(&before[1]));
    drop(remote);
    rig.stop();
    rig.serve();
    let remote = rig.connect();
    let after = [snapshots(&remote, "main/a"), snapshots(&remote, "main/b")];
    assert_eq!(rounds(&after[0]), rounds(&after[1]));
    assert!(after[0].len() >= before[0].len(), "{before:?} {after:?}");
    rig.stop();
}

fn begin_import(remote: &Remote, name: &str) -> (u64, tonic::Streaming<proto::Job>) {
    let message = proto::ImportRequest {
        name: name.to_owned(),
        size: 1 << 20,
        properties: None,
        replace: false,
    };
    let begun = call(remote, |channel| async move {
        let mut told = JobsClient::new(channel).import(message).await?.into_inner();
        let job = told.next().await.expect("a job")?;
        Ok((job.id, told))
    });
    begun.expect("a job")
}

fn write(remote: &Remote, job: u64, offset: u64, bytes: usize) -> Result<(), Status> {
    let message = proto::WriteRequest {
        job,
        offset,
        data: vec![7; bytes].into(),
    };
    call(remote, |channel| async move {
        JobsClient::new(channel).write(message).await.map(drop)
    })
}

#[test]
fn a_piece_that_is_not_inside_the_volume_is_refused() {
    let mut rig = Rig::start("pieces");
    let remote = rig.connect();
    let (job, told) = begin_import(&remote, "main/a");
    write(&remote, job, 0, 1 << 20).expect("all of it");
    for (offset, bytes) in [
        (1, 1 << 20),
        (1 << 20, 1),
        (u64::MAX, 2),
        (0, 0),
        (0, 2 << 20),
    ] {
        let status = write(&remote, job, offset, bytes).expect_err("not inside");
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    assert_eq!(
        write(&remote, 99, 0, 1).expect_err("no job").code(),
        Code::NotFound
    );
    let finished = call(&remote, |channel| async move {
        let checksum = String::new();
        let message = proto::FinishImportRequest { job, checksum };
        JobsClient::new(channel)
            .finish_import(message)
            .await
            .map(drop)
    });
    finished.expect("a volume");
    let late = write(&remote, job, 0, 1).expect_err("it is over");
    assert_eq!(late.code(), Code::FailedPrecondition);
    assert_eq!(names(&remote), ["main/a"]);
    drop(told);
    rig.stop();
}

#[test]
fn an_import_that_nobody_keeps_leaves_nothing() {
    let mut rig = Rig::start("abandoned");
    let remote = rig.connect();
    let caller = rig.connect();
    let (job, told) = begin_import(&caller, "main/a");
    write(&caller, job, 0, 4096).expect("a piece");
    assert_eq!(names(&remote), ["main/a.importing"]);
    drop(told);
    drop(caller);
    // It is cancelled by itself; whoever wants to know when, asks for it.
    let message = proto::CancelJobRequest { id: job };
    let ended = call(&remote, |channel| async move {
        JobsClient::new(channel).cancel(message).await.map(drop)
    });
    let is_over = |status: &Status| status.code() == Code::FailedPrecondition;
    assert!(
        ended.as_ref().is_ok() || ended.as_ref().is_err_and(is_over),
        "{ended:?}"
    );
    assert_eq!(names(&remote), Vec::<String>::new());
    rig.stop();
}

#[test]
fn a_service_stops_under_a_job() {
    let mut rig = Rig::start("stopping");
    let remote = rig.connect();
    create(&remote, "main/kept").expect("a volume");
    let (job, told) = begin_import(&remote, "main/a");
    write(&remote, job, 0, 1 << 20).expect("all of it");
    rig.stop();
    drop(told);
    assert!(!rig.socket().exists(), "a stopped server leaves no socket");
    rig.serve();
    let remote = rig.connect();
    assert_eq!(names(&remote), ["main/kept"]);
    rig.stop();
}
