//! Arguments with a clear meaning are accepted. Otherwise a message states what to write.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Stdio;

use crate::support::{Ended, Place, Sweep, wait_for};

fn place() -> Place {
    let place = Place::new();
    place.sweep("quick.yaml", &Sweep { network: [40, 16, 5], engine: "pcg", trials: 1, ..Sweep::small() });
    place
}

fn shell(place: &Place, command: &str) -> Ended {
    let mut bash = place.command("bash");
    bash.arg("-c").arg(command).env("GRANULE", env!("CARGO_BIN_EXE_granule"));
    bash.stdin(Stdio::null());
    Ended::from(bash.output().expect("a shell"))
}

#[test]
fn addresses_that_are_plain_are_taken() {
    let place = place();
    for address in ["127.0.0.1", "0", ":0", "localhost:0", "[::1]"] {
        let ended = place.run(&["run", "quick.yaml", "--out", address, "--listen", address]);
        // A machine may lack IPv6.
        if address != "[::1]" || ended.code == Some(0) {
            ended.succeeded();
        }
    }
    place
        .run(&["run", "quick.yaml", "--listen", "0.0.0.0"])
        .failed_with(2, &["`run` listens on loopback only"]);
    let ended = place.run(&["run", "quick.yaml", "--out", "dashboard", "--dashboard", "0"]).succeeded();
    assert!(ended.stderr.contains("dashboard: http://127.0.0.1:"), "{}", ended.stderr);
    for (option, wrong, why) in [
        ("--listen", "nonsense", "write IP:PORT, as in 127.0.0.1:7000, or a port alone"),
        ("--listen", "70000", "`70000` is not a port; write a number from 0 to 65535"),
        ("--dashboard", "http://127.0.0.1:7001/", "write the address alone, as in 127.0.0.1:7000"),
        ("--dashboard", "::1:x", "`x` is not a port"),
    ] {
        place.run(&["run", "quick.yaml", option, wrong]).failed_with(2, &["invalid value", why]);
    }
    let outside = ["serve", "quick.yaml", "--listen", "0", "--metrics", "0.0.0.0:0"];
    place.run(&outside).failed_with(2, &["metrics without a secret are served on loopback only"]);
}

#[test]
fn a_port_that_the_system_chose_is_printed() {
    let place = place();
    let mut served =
        place.start(&["serve", "quick.yaml", "--out", "out", "--listen", "127.0.0.1", "--metrics", "0"]);
    let url = served.until("the address of metrics is printed", |running| {
        let stderr = running.stderr();
        let (_, rest) = stderr.split_once("metrics: http://")?;
        rest.split_once('\n').map(|(url, _)| url.to_owned())
    });
    let address = url.strip_suffix("/metrics").expect("a page");
    assert!(address.starts_with("127.0.0.1:") && !address.ends_with(":0"), "{url}");
    std::net::TcpStream::connect(address).expect("somebody listens there");
}

#[test]
fn access_comes_from_a_file_from_standard_input_or_from_a_shell() {
    let place = place();
    for (out, command) in [
        ("file", "exec $GRANULE worker --access file/access.json"),
        ("stdin", "exec $GRANULE worker --access - <stdin/access.json"),
        ("pipe", "cat pipe/access.json | $GRANULE worker --access -"),
        ("substituted", "exec $GRANULE worker --access <(cat substituted/access.json)"),
        ("marked", "(printf '\\357\\273\\277'; cat marked/access.json) | $GRANULE worker --access -"),
    ] {
        let served = place.start(&["serve", "quick.yaml", "--out", out, "--listen", "127.0.0.1:0"]);
        wait_for("there is an access file", || {
            place.path(&format!("{out}/access.json")).exists().then_some(())
        });
        shell(&place, command).succeeded();
        served.end().succeeded();
    }
    shell(&place, "$GRANULE worker --access - </dev/null")
        .failed_with(2, &["standard input cannot be used", "not an access file"]);
    // A file that is not an access file is reported as such, independent of its mode.
    fs::set_permissions(place.path("quick.yaml"), fs::Permissions::from_mode(0o644)).expect("a mode");
    let ended = place.run(&["worker", "--access", "quick.yaml"]);
    let ended = ended.failed_with(2, &["quick.yaml cannot be used", "this is not an access file"]);
    assert!(!ended.stderr.contains("chmod"), "{}", ended.stderr);
    let utf16: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    place.write("utf16.json", utf16);
    place.run(&["worker", "--access", "utf16.json"]).failed_with(2, &["UTF-16 text; expected UTF-8"]);
}

#[test]
fn a_link_that_leads_nowhere_is_named() {
    let place = place();
    symlink("nowhere", place.path("link")).expect("a link");
    for out in ["link", "link/below"] {
        for command in ["run", "plan"] {
            let ended = place.run(&[command, "quick.yaml", "--out", out]);
            let ended =
                ended.failed_with(1, &["link is a symbolic link to nowhere, which does not exist", "help: "]);
            assert!(!ended.stderr.contains("File exists"), "{}", ended.stderr);
        }
    }
    assert!(!place.path("nowhere").exists());
}

#[test]
fn commands_that_are_nearly_right_get_a_hint() {
    let place = place();
    let ended = place.run(&["run", "quick.yaml", "--out", "out"]).succeeded();
    assert!(
        ended.stdout.contains("to see it: granule figures out, or granule report out\n"),
        "{}",
        ended.stdout
    );
    assert!(
        !place
            .run(&["run", "quick.yaml", "--out", "json", "--json"])
            .succeeded()
            .stdout
            .contains("to see it")
    );
    fs::create_dir(place.path("sweeps")).expect("a directory");
    fs::copy(place.path("quick.yaml"), place.path("sweeps/other.yaml")).expect("a copy");
    for (arguments, part) in [
        (&["quick.yaml"][..], "tip: to run a sweep file: granule run quick.yaml"),
        (&["out"], "tip: to see the state of a sweep: granule status out"),
        (&["run", "out"], "it is an output directory; expected a sweep file. `granule status out` shows"),
        (&["run", "sweeps"], "help: name the sweep file, such as sweeps/other.yaml"),
        (&["run", "quick"], "help: did you mean quick.yaml?"),
        (&["plan", "other"], "help: did you mean sweeps/other.yaml?"),
        (&["run", "nothing.yaml"], "`granule init` writes one to start from"),
        (&["export", "out", "spikes.csv"], "tip: to write the spikes to it: --to spikes.csv"),
        (&["export", "out", "sweep.zip"], "tip: to write a research object to it: --crate sweep.zip"),
        (&["figures", "out", "pictures"], "tip: to write to it: --to pictures"),
        (&["report", "out", "page.html"], "tip: to write to it: --to page.html"),
        (&["worker", "access.json"], "tip: to use an access file: --access access.json"),
        (
            &["explain", "quick.yaml", "--trial", "99"],
            "help: it has 1 trial, counted from 0: choose one of 0",
        ),
        (
            &["reproduce", "out", "--condition", "ACh", "--seed", "451", "--trial", "99"],
            "sweep test has no trial 99",
        ),
    ] {
        place.run(arguments).failed_with(2, &[part]);
    }
    place.write("thousands.yaml", "trials: 1,000\nconditions: [Control]\n");
    place.run(&["plan", "thousands.yaml"]).failed_with(2, &["must be a whole number", "help: write `1000`"]);
}
