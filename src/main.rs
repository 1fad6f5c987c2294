//! Parse, log, runtime, command, exit code.

use std::process::ExitCode;

use facequality_transformer::ConfigErrors;
use facequality_transformer::command::{Cli, Exit, print_error};
use facequality_transformer::log;

/// The system's allocator gives the memory of each tensor back and faults it in again for the next:
/// a tenth of all CPU time (docs/PERFORMANCE.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::from_args(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output, errors to standard error; a closed pipe is fine.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let task = match cli.command.prepare() {
        Ok(task) => task,
        Err(problems) => return failed(Exit::Usage, problems),
    };
    let _log = match log::start(&task.log.filter, task.log.format) {
        Ok(guard) => guard,
        Err(problem) => return failed(Exit::Usage, problem),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("runtime")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(Exit::Failed, format!("cannot start the runtime: {error}")),
    };
    match runtime.block_on(task.run) {
        Ok(code) => code,
        Err(error) if error.is::<ConfigErrors>() => failed(Exit::Usage, error),
        Err(error) => failed(Exit::Failed, format!("{error:#}")),
    }
}

fn failed(exit: Exit, problem: impl std::fmt::Display) -> ExitCode {
    print_error(problem);
    exit.into()
}
