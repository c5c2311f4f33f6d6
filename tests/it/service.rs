//! A whole service in this process, and a client that somebody else wrote.

use std::io::{Read, Seek, SeekFrom, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use bedplate::backend::Location;
use bedplate::control::{ExportName, RawSettings, Service, Settings};
use bedplate::env::Address;

/// A service of one export, `disk`, on a unix socket.
fn start(name: &str, location: Location) -> (Service, PathBuf) {
    let socket = PathBuf::from(format!("/tmp/bedplate-{name}-{}.sock", std::process::id()));
    let raw = RawSettings::new(location);
    let settings = Settings {
        threads: Some(2),
        nbd: vec![Address::Unix(socket.clone())],
        raw: [(ExportName::new("disk").expect("a good name"), raw)].into(),
        ..Settings::default()
    };
    let service = Service::start(&settings).unwrap_or_else(|error| panic!("{error}"));
    (service, socket)
}

#[test]
fn an_independent_client_reads_what_it_wrote() {
    let (service, socket) = start("independent", Location::Mem(1 << 20));
    let mut stream = UnixStream::connect(&socket).expect("a listening server");
    let export = nbd::client::handshake(&mut stream, b"disk").expect("an export");
    assert_eq!((export.size, export.readonly), (1 << 20, false));
    let mut client = nbd::client::NbdClient::new(&mut stream, &export);
    let data: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    client.seek(SeekFrom::Start(777)).expect("a place");
    client.write_all(&data).expect("a write");
    client.flush().expect("a flush");
    client.seek(SeekFrom::Start(777)).expect("a place");
    let mut back = vec![0; data.len()];
    client.read_exact(&mut back).expect("a read");
    assert_eq!(back, data);
    stream.shutdown(Shutdown::Both).expect("an end");
    service.stop().expect("a clean stop");
    assert!(!socket.exists(), "a stopped server leaves no socket");
}

#[test]
fn a_service_stops_under_a_client_that_stays() {
    let (service, socket) = start("staying", Location::Mem(1 << 20));
    let mut idle = UnixStream::connect(&socket).expect("a listening server");
    nbd::client::handshake(&mut idle, b"disk").expect("an export");
    let mut silent = UnixStream::connect(&socket).expect("a listening server");
    silent.read_exact(&mut [0; 18]).expect("a greeting");
    service.stop().expect("a clean stop");
    for mut client in [idle, silent] {
        assert_eq!(client.read(&mut [0; 1]).expect("an end"), 0);
    }
}

#[test]
fn two_services_do_not_share_a_file_or_a_socket() {
    let path = PathBuf::from(format!("/tmp/bedplate-shared-{}.img", std::process::id()));
    let file = std::fs::File::create(&path).expect("a file");
    file.set_len(1 << 20).expect("a sparse file");
    let (service, socket) = start("shared", Location::File(path.clone()));
    let settings = |nbd: &str, location| Settings {
        nbd: vec![Address::Unix(nbd.into())],
        raw: [(
            ExportName::new("disk").expect("a good name"),
            RawSettings::new(location),
        )]
        .into(),
        ..Settings::default()
    };
    let refused = |settings| match Service::start(&settings) {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    };
    let same_file = refused(settings("/tmp/unused.sock", Location::File(path.clone())));
    assert!(same_file.contains("in use"), "{same_file}");
    let taken = socket.to_str().expect("a plain path");
    let same_socket = refused(settings(taken, Location::Mem(512)));
    assert!(same_socket.contains(taken), "{same_socket}");
    service.stop().expect("a clean stop");
    std::fs::remove_file(path).expect("it was there");
}
