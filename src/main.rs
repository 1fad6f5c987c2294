//! The product: face quality and face photo.

use std::process::ExitCode;

/// The system's allocator gives the memory of each tensor back and faults it in again for the next:
/// a tenth of all CPU time (docs/PERFORMANCE.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    kserve_transformer::command::main()
}
