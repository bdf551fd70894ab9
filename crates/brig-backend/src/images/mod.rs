//! Images on disk: what cells see instead of the host's own interpreter. One root file system serves both backends: the
//! jail binds it read-only, an engine's image is made of it.
//!
//! ```text
//!  STORE/names/<name>.json    which root a name means
//!  STORE/roots/<digest>/      the root file system
//!  STORE/roots/<digest>.json  what it is: interpreter, environment, default limits, packages
//! ```
//!
//! A root is named by its content, so a name can be given to a new one while cells of the old one run, and a receipt says
//! for ever what a program saw. [`catalog`] reads (the daemon, the broker, the command line), [`store`] writes (the command
//! line alone). Whatever runs in a cell can see nothing of a store but the root that it was given.

mod beneath;
pub(crate) mod body;
pub mod build;
pub mod catalog;
mod check;
pub mod definition;
pub mod engine;
pub mod error;
pub mod import;
pub mod meta;
pub mod name;
pub mod packages;
mod pattern;
mod remembered;
pub mod store;
pub mod tar;

pub use catalog::{FoundImage, ImageCatalog, ListedImage, default_directories};
pub use definition::{Definition, DefinitionError};
pub use error::ImageError;
pub use meta::{ImageLimits, ImageMeta, Package};
pub use name::{RootDigest, checked_name};
pub use store::{ImageStore, NewRoot};

/// Where the names are.
const NAMES: &str = "names";
/// Where the root file systems are, and beside each what it is.
const ROOTS: &str = "roots";
