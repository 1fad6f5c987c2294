//! `serve`: starts the service and ends it in named steps.
