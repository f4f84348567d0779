//! `granule`: runs parameter sweeps of the cerebellar granular-layer model.

fn main() -> std::process::ExitCode {
    granule::main()
}
