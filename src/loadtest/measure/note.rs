//! What can limit the figures of a run, in words.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::loadtest::units::{show_milliseconds, show_rate};

/// Something that a reader of the figures must know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Note {
    ClosedLoop,
    NothingCounted,
    Silence { length_ms: f64, began: f64 },
    ConnectionsBusy { max: usize, lag_ms: f64 },
    SentLate { lag_ms: f64 },
    AboveCapacity { growth_ms: f64 },
    LittleCpu,
    Unsteady { least: f64, middle: f64, most: f64 },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ClosedLoop => f.write_str(
                "closed loop: while the target stalls, nothing is sent, so these percentiles \
                 cannot see a stall; use --rate to see it",
            ),
            Self::NothingCounted => {
                f.write_str("nothing was counted: the run was shorter than its warm-up")
            }
            Self::Silence { length_ms, began } => {
                let length = show_milliseconds(length_ms);
                write!(f, "no response for {length} from second {began:.1} on")
            }
            Self::ConnectionsBusy { max, lag_ms } => write!(
                f,
                "all {max} connections were busy: requests waited for one, {} at p99 (counted; \
                 --max_connections)",
                show_milliseconds(lag_ms),
            ),
            Self::SentLate { lag_ms } => write!(
                f,
                "the load test itself was late: {} at p99 between a request's moment and its \
                 sending (counted; the machine is busy)",
                show_milliseconds(lag_ms),
            ),
            Self::AboveCapacity { growth_ms } => write!(
                f,
                "latency grew by {} in each second: the rate is above the capacity, and the \
                 percentiles depend on how long the run lasts",
                show_milliseconds(growth_ms),
            ),
            Self::LittleCpu => f.write_str(
                "the target used less than a second of CPU, which is counted in hundredths: let \
                 the run last longer for an exact figure",
            ),
            Self::Unsteady {
                least,
                middle,
                most,
            } => write!(
                f,
                "unsteady: images went through at {} to {}, {} in the middle",
                show_rate(least),
                show_rate(most),
                show_rate(middle),
            ),
        }
    }
}

impl Serialize for Note {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
