//! temporary
mod bench;
use clap::Parser;
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    c: C,
}
#[derive(clap::Subcommand)]
enum C {
    Bench(bench::BenchArgs),
}
fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let C::Bench(args) = cli.c;
    match bench::run(&args) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            std::process::ExitCode::FAILURE
        }
    }
}
