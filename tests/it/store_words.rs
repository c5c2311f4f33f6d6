//! That `bedplate store check` and `bedplate store inspect` say what they find, to people and to
//! programs, and end as their help says.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::store_image::{Sealed, StoreImage, segs};

/// A store in a file, for one test.
struct StoreFile(PathBuf);

impl StoreFile {
    fn new(name: &str, sealed: &Sealed) -> Self {
        let file = format!("bedplate-{name}-{}.img", std::process::id());
        let path = std::env::temp_dir().join(file);
        std::fs::write(&path, &sealed.bytes).expect("room for a few mebibytes");
        Self(path)
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedplate"));
        let url = self.0.to_str().expect("a plain name");
        let words = words
            .iter()
            .map(|word| if *word == "URL" { url } else { word });
        command.arg("store").args(words).output().expect("it runs")
    }

    /// What it prints as JSON, with the exit status.
    fn json(&self, words: &[&str]) -> (Value, Option<i32>) {
        let out = self.run(words);
        let value = serde_json::from_slice(&out.stdout);
        (value.expect("JSON"), out.status.code())
    }
}

impl Drop for StoreFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn a_check_of_a_store_in_order_ends_well() {
    let file = StoreFile::new("in-order", &StoreImage::new().seal());
    let out = file.run(&["check", "URL"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("findings       0\n") && out.stderr.is_empty());
    let (report, status) = file.json(&["check", "URL", "--data", "--json"]);
    assert_eq!(status, Some(0));
    assert_eq!(report["chunks"], 12);
    assert_eq!(report["log"]["batches"], 3);
    assert_eq!(report["findings"], serde_json::json!([]));
}

#[test]
fn a_check_that_finds_something_says_it_line_by_line_and_fails() {
    let mut sealed = StoreImage::new().seal();
    sealed.flip(segs::NODES, 4112);
    let file = StoreFile::new("broken", &sealed);
    let out = file.run(&["check", "URL"]);
    assert_eq!(out.status.code(), Some(1));
    let first = text(&out.stdout).lines().next().expect("a finding");
    let place = "volume vm1 node of level 0 at block 512 -> segment 18 offset 0x1010";
    assert!(first.starts_with(&format!("I3  {place}: ")), "{first}");
    assert!(text(&out.stderr).contains(": 1 finding; "));
    let (report, status) = file.json(&["check", "--json", "URL"]);
    assert_eq!(
        (&report["findings_total"], status),
        (&Value::from(1), Some(1))
    );
    assert_eq!(report["findings"][0]["place"], place);
}

#[test]
fn every_structure_can_be_inspected() {
    let file = StoreFile::new("inspected", &StoreImage::new().seal());
    let whole = |words: &[&str], section: usize| {
        let (shown, status) = file.json(&[&["inspect", "URL", "--json"], words].concat());
        assert_eq!(status, Some(0), "{words:?}");
        shown[section]["rows"].as_array().expect("rows").clone()
    };
    let slot = |slot: usize| whole(&["superblocks"], slot)[0].clone();
    assert_eq!(
        (&slot(2)["generation"], &slot(2)["state"]),
        (&Value::from(42), &"newest".into())
    );
    assert_eq!(slot(1)["state"], "older");
    let trees = whole(&["root"], 2);
    let names: Vec<&Value> = trees.iter().map(|tree| &tree["name"]).collect();
    assert_eq!(names, ["vm1", "mon", "vm2"]);
    let segments = whole(&["segments"], 0);
    assert_eq!((segments.len(), &segments[17]["state"]), (48, &"gc".into()));
    assert_eq!(whole(&["segment", "16"], 1)[0]["last"], 3);
    assert_eq!(whole(&["segment", "16"], 3).len(), 3);
    assert_eq!(whole(&["tree", "1"], 1).len(), 3);
    assert_eq!(whole(&["node", "18+0x3030"], 0)[1]["at"], "18+0x1010");
    let log = whole(&["log"], 0);
    assert_eq!((log.len(), &log[2]["at"]), (3, &"22+0x0".into()));
    assert_eq!(whole(&["log"], 2)[0]["number"], 14);
}

#[test]
fn what_is_not_there_is_told_on_one_line() {
    let file = StoreFile::new("asked", &StoreImage::new().seal());
    for words in [
        &["segment", "48"][..],
        &["tree", "9"],
        &["node", "18+0x20"],
        &["node", "99+0"],
    ] {
        let out = file.run(&[&["inspect", "URL"], words].concat());
        assert_eq!(out.status.code(), Some(1), "{words:?}");
        assert_eq!(
            text(&out.stderr).lines().count(),
            1,
            "{}",
            text(&out.stderr)
        );
        assert!(out.stdout.is_empty());
    }
    let wrong = file.run(&["inspect", "URL", "node", "18"]);
    assert_eq!(wrong.status.code(), Some(2));
}
