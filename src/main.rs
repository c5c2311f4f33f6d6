//! The `bedplate` program.

fn main() -> std::process::ExitCode {
    bedplate::cli::run()
}
