//! The daemon as its callers see it: through a unix socket, with the real store and a scripted backend.

#[cfg(test)]
mod embedded;
#[cfg(test)]
mod execute;
#[cfg(test)]
mod files;
#[cfg(test)]
mod hostile_calls;
#[cfg(test)]
mod lease;
#[cfg(test)]
mod lifetime;
#[cfg(test)]
mod service;
#[cfg(test)]
mod support;
#[cfg(test)]
mod watching;
